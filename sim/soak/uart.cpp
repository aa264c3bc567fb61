// dpnet.gateware.doors.uart.UartDoor with a FrameReceiver behind it, bit by bit; `uart CYCLES_PER_BIT ERROR FRAMES SEED`.
//
// ERROR: how much faster the far end's clock is (0.02: 2 %).  The far end sends frames with random gaps, so that its bits
// fall on every phase of the clock; every accepted frame is sent back through the transmitter, heard by a listener
// with the far end's clock, and compared.  A line of JSON: "wrong" frames were accepted and not sent, "lost" sent
// and not accepted, "returned_wrong" did not come back as they were.
#include "Vtop.h"
#include "frames.h"
#include "verilated.h"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>

// A line driven by a clock of its own: edges fall between cycles, wherever.
struct Sender {
    Random& random;
    double bit, edge = 0;
    std::deque<unsigned char> bytes;
    unsigned shift = 0;
    int left = 0;
    bool level = true;

    bool at(double now) {
        while (edge <= now && (left || !bytes.empty())) {
            if (!left) {
                if (edge < now - 1) edge = now - random.unit();  // the line was idle: any phase
                shift = bytes.front() << 1 | 1u << 9;
                bytes.pop_front();
                left = 10;
            }
            level = shift & 1;
            shift >>= 1;
            edge += bit;
            if (--left == 0 && random.chance(0.1)) edge += bit * random.unit() * (random.chance(0.2) ? 30 : 3);
        }
        return left || edge > now ? level : true;
    }
    bool idle(double now) const { return !left && bytes.empty() && edge <= now; }
};

// Takes each bit in its middle, counted from the falling edge of the start bit.
struct Listener {
    double bit, next = 0;
    int place = -1;
    unsigned value = 0;
    bool before = true;
    Bytes heard;
    uint64_t bad = 0;

    void at(double now, bool level) {
        if (place < 0 && before && !level) {
            place = 0;
            value = 0;
            next = now + bit / 2;
        }
        before = level;
        if (place < 0 || now < next) return;
        if (place == 0) bad += level;
        else if (place < 9) value |= unsigned(level) << (place - 1);
        else {
            bad += !level;
            heard.push_back(static_cast<char>(value));
            place = -1;
            return;
        }
        ++place;
        next += bit;
    }
};

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    const double bit = atof(argv[1]), error = atof(argv[2]);
    const uint64_t frames = strtoull(argv[3], nullptr, 10), seed = strtoull(argv[4], nullptr, 10);
    VerilatedContext context;
    Vtop top{&context};
    Random random(seed);
    Sender sender{random, bit / (1 + error)};
    Listener listener{bit / (1 + error)};
    std::deque<Bytes> expected;     // sent and not accepted yet
    std::deque<unsigned char> back;  // accepted, on the way back
    std::vector<Bytes> accepted;
    uint64_t sent = 0, bytes = 0, wrong = 0, lost = 0, cycle = 0;
    Bytes raw;
    int asked = 0, words = -1;

    auto take = [&]() {
        accepted.push_back(raw);
        for (unsigned char byte : line_of(raw)) back.push_back(byte);
        const auto found = std::find(expected.begin(), expected.end(), raw);
        if (found == expected.end()) ++wrong;
        else {
            lost += found - expected.begin();
            expected.erase(expected.begin(), found + 1);
        }
    };
    auto tick = [&]() {
        const double now = static_cast<double>(cycle);
        top.rx = sender.at(now);
        top.i___05Fvalid = !back.empty();
        top.i___05Fpayload = back.empty() ? 0 : back.front();
        top.clk = 0;
        top.eval();
        listener.at(now, top.tx);
        if (!back.empty() && top.i___05Fready) back.pop_front();
        top.done = 0;
        if (!top.rst && top.valid) {
            if (words < 0) {
                raw.clear();
                for (int n = 0; n < HEADER_BYTES; ++n)
                    raw.push_back(static_cast<char>(top.header[n / 4] >> 8 * (n % 4)));
                words = reads(raw) ? 0 : (std::min<int>(length_of(raw), MOST_PAYLOAD) + 3) / 4;
                asked = 0;
            } else if (asked > 0 && asked <= words) {
                for (int n = 0; n < 4; ++n) raw.push_back(static_cast<char>(top.word >> 8 * n));
            }
            if (asked < words) top.address = asked++;
            else if (asked++ >= words) {
                raw.resize(HEADER_BYTES + (reads(raw) ? 0 : length_of(raw)));
                take();
                top.done = 1;
                words = -1;
            }
        }
        top.clk = 1;
        top.eval();
        ++cycle;
    };

    top.rx = 1;
    top.rst = 1;
    for (int n = 0; n < 4; ++n) tick();
    top.rst = 0;
    uint64_t quiet = 0;
    // The way back is longer than the way there (its far end's clock is the slower one, or frames are longer in
    // the queue): frames are sent only as long as few wait on it.
    while (sent < frames || quiet < 40 * bit) {
        if (sent < frames && sender.bytes.size() < 64 && back.size() < 512) {
            expected.push_back(random_request(random, 64));
            for (unsigned char byte : line_of(expected.back())) sender.bytes.push_back(byte);
            bytes += line_of(expected.back()).size();
            ++sent;
        }
        tick();
        const bool busy = !sender.idle(static_cast<double>(cycle)) || !back.empty() || listener.place >= 0;
        quiet = busy ? 0 : quiet + 1;
    }
    lost += expected.size();
    const std::vector<Bytes> returned = requests_in(listener.heard);
    uint64_t differ = listener.bad + (returned.size() != accepted.size());
    for (size_t n = 0; n < std::min(returned.size(), accepted.size()); ++n) differ += returned[n] != accepted[n];
    printf("{\"frames\": %llu, \"bytes\": %llu, \"wrong\": %llu, \"lost\": %llu, \"returned\": %llu, "
           "\"returned_wrong\": %llu, \"framing_errors\": %u, \"overruns\": %u, \"cycles\": %llu}\n",
           (unsigned long long)sent, (unsigned long long)bytes, (unsigned long long)wrong, (unsigned long long)lost,
           (unsigned long long)returned.size(), (unsigned long long)differ, unsigned(top.framing_errors),
           unsigned(top.overruns), (unsigned long long)cycle);
    return 0;
}
