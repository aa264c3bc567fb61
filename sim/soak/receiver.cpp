// dpnet.gateware.link.receiver.FrameReceiver under damaged line bytes; `receiver KIND RATE FRAMES SEED`, or
// `receiver show - FRAMES SEED` for clean frames in hexadecimal (header and payload, line bytes).
//
// A line of JSON: what was sent, and how often a promise was broken.  "wrong": accepted, but no frame like it was
// sent.  "lost": sent, whole on the line with both its zeros, and not accepted.  "differs": blocks in which the
// receiver and a decoder of bytes in C++ accept different frames.
#include "Vtop.h"
#include "frames.h"
#include "verilated.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <unordered_set>

static const int BLOCK = 32;  // frames that are damaged and judged together
static const uint32_t DAMAGED = ~0u;

struct Tagged {  // a byte on the line and what it was of: frame, and place in it
    unsigned char byte;
    uint32_t tag;
};
using Line = std::vector<Tagged>;

static void append(Line& line, const Bytes& bytes, uint32_t frame) {
    for (size_t n = 0; n < bytes.size(); ++n)
        line.push_back({static_cast<unsigned char>(bytes[n]), frame << 10 | static_cast<uint32_t>(n)});
}

static unsigned char any_byte(Random& random) {
    return static_cast<unsigned char>(random.chance(0.2) ? 0 : random.next());
}
// Mostly one byte, at times a burst.
static uint32_t burst(Random& random, uint32_t most) { return random.chance(0.06) ? 1 + random.below(most) : 1; }

static Line flipped(Line line, double rate, Random& random) {
    for (size_t n = 0; n < line.size(); ++n)
        if (random.chance(rate))
            for (uint32_t left = burst(random, 8); left && n < line.size(); --left, ++n) {
                line[n].byte ^= left == 1 ? 1u << random.below(8) : random.below(256);
                line[n].tag = DAMAGED;
            }
    return line;
}
static Line dropped(const Line& line, double rate, Random& random) {
    Line out;
    for (size_t n = 0; n < line.size(); ++n)
        if (random.chance(rate)) n += burst(random, 300) - 1;
        else out.push_back(line[n]);
    return out;
}
static Line inserted(const Line& line, double rate, Random& random) {
    Line out;
    for (const Tagged& byte : line) {
        if (random.chance(rate))
            for (uint32_t left = burst(random, 600); left; --left) out.push_back({any_byte(random), DAMAGED});
        out.push_back(byte);
    }
    return out;
}
static Line duplicated(const Line& line, double rate, Random& random) {
    Line out;
    for (size_t n = 0; n < line.size(); ++n) {
        out.push_back(line[n]);
        if (!random.chance(rate)) continue;
        const size_t from = n + 1 - std::min<size_t>(n + 1, burst(random, 64));
        out.insert(out.end(), line.begin() + from, line.begin() + n + 1);
    }
    return out;
}
static Line reordered(Line line, double rate, Random& random) {
    for (size_t n = 0; n < line.size(); ++n)
        if (random.chance(rate)) std::swap(line[n], line[std::min<size_t>(line.size() - 1, n + 1 + random.below(8))]);
    return line;
}

// The bytes of the frames in the order in which they are sent: with "duplicate" and "reorder" whole frames are
// repeated and change places, too.
static Line sent(const std::vector<Bytes>& lines, const Bytes& kind, double rate, Random& random) {
    std::vector<uint32_t> order;
    const double share = std::min(0.5, 20 * rate);
    for (uint32_t n = 0; n < lines.size(); ++n) {
        order.push_back(n);
        if (kind == "duplicate" && random.chance(share)) order.push_back(random.below(n + 1));
    }
    if (kind == "reorder")
        for (size_t n = 0; n < order.size(); ++n)
            if (random.chance(share)) std::swap(order[n], order[random.below(static_cast<uint32_t>(order.size()))]);
    Line line;
    for (uint32_t n : order) append(line, lines[n], n);
    return line;
}

static Line damaged(Line line, const Bytes& kind, double rate, Random& random) {
    if (kind == "flip") return flipped(line, rate, random);
    if (kind == "drop") return dropped(line, rate, random);
    if (kind == "insert") return inserted(line, rate, random);
    if (kind == "duplicate") return duplicated(line, rate, random);
    if (kind == "reorder") return reordered(line, rate, random);
    fprintf(stderr, "no such kind of damage: %s\n", kind.c_str());
    exit(2);
}

// The frames that are whole on the line, zero to zero, in order.
static std::vector<uint32_t> untouched(const Line& line, const std::vector<Bytes>& lines) {
    std::vector<uint32_t> found;
    uint32_t run = 0;
    for (size_t n = 0; n < line.size(); ++n) {
        const uint32_t place = line[n].tag & 1023, frame = line[n].tag >> 10;
        const bool follows = line[n].tag != DAMAGED && run && place == run && line[n].tag == line[n - 1].tag + 1;
        run = follows ? run + 1 : line[n].tag != DAMAGED && place == 0 ? 1 : 0;
        if (run && run == lines[frame].size()) {
            found.push_back(frame);
            run = 0;
        }
    }
    return found;
}

struct Receiver {
    VerilatedContext context;
    Vtop top{&context};
    Random random;
    uint64_t cycles = 0;
    std::vector<Bytes> accepted;
    // Reading the frame that is there: the words asked for, and cycles until `done`.
    Bytes raw;
    int asked = 0, words = -1, wait = 0, dawdle = 0;

    explicit Receiver(uint64_t seed) : random(seed) {
        top.rst = 1;
        for (int n = 0; n < 4; ++n) tick(0, false);
        top.rst = 0;
    }

    bool tick(unsigned char byte, bool valid) {
        top.i___05Fpayload = byte;
        top.i___05Fvalid = valid;
        top.clk = 0;
        top.eval();
        const bool taken = valid && top.i___05Fready;
        look();
        top.clk = 1;
        top.eval();
        ++cycles;
        return taken;
    }

    // A user of frames: reads header and payload word by word, is done some time later.
    void look() {
        top.done = 0;
        if (top.rst || !top.valid) return;
        if (words < 0) {
            raw.clear();
            for (int n = 0; n < HEADER_BYTES; ++n)
                raw.push_back(static_cast<char>(top.header[n / 4] >> 8 * (n % 4)));
            words = reads(raw) ? 0 : (std::min<int>(length_of(raw), MOST_PAYLOAD) + 3) / 4;
            asked = 0;
            wait = dawdle && random.chance(0.5) ? random.below(dawdle) : 0;
        } else if (asked > 0 && asked <= words) {
            const uint32_t word = top.word;
            for (int n = 0; n < 4; ++n) raw.push_back(static_cast<char>(word >> 8 * n));
        }
        if (asked < words) {
            top.address = asked++;
        } else if (asked++ >= words && --wait < 0) {
            raw.resize(HEADER_BYTES + (reads(raw) ? 0 : length_of(raw)));
            accepted.push_back(raw);
            top.done = 1;
            words = -1;
        }
    }

    void feed(const Line& line) {
        const double pauses = random.chance(0.25) ? 0.3 : 0;
        dawdle = random.chance(0.25) ? 600 : 12;
        for (const Tagged& byte : line)
            while (!tick(byte.byte, !pauses || !random.chance(pauses))) {}
        for (int idle = 0; idle < 16; idle = top.valid ? 0 : idle + 1) tick(0, false);
    }
};

static int show(uint64_t frames, uint64_t seed) {
    Random random(seed);
    auto print = [](const Bytes& bytes, char end) {
        for (unsigned char byte : bytes) printf("%02x", byte);
        putchar(end);
    };
    for (uint64_t n = 0; n < frames; ++n) {
        const Bytes raw = random.chance(0.1) ? random_impostor(random) : random_request(random);
        printf("%d ", is_request(raw));
        print(raw, ' ');
        print(line_of(raw), '\n');
    }
    return 0;
}

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    const Bytes kind = argv[1];
    const double rate = atof(argv[2]);
    const uint64_t wanted = strtoull(argv[3], nullptr, 10), seed = strtoull(argv[4], nullptr, 10);
    if (kind == "show") return show(wanted, seed);
    Random random(seed);
    Receiver receiver(seed + 1);
    uint64_t frames = 0, bytes = 0, hit = 0, accepted = 0, clean = 0, impostors = 0;
    uint64_t wrong = 0, lost = 0, differs = 0;
    while (frames < wanted) {
        std::vector<Bytes> raws, lines;
        std::unordered_set<Bytes> known;
        for (int n = 0; n < BLOCK; ++n) {
            const bool impostor = random.chance(0.03);
            raws.push_back(impostor ? random_impostor(random) : random_request(random));
            lines.push_back(line_of(raws.back()));
            impostors += impostor;
            if (!impostor) known.insert(raws.back());
        }
        frames += BLOCK;
        const Line whole = sent(lines, kind, rate, random);
        Line line = damaged(whole, kind, rate, random);
        bytes += line.size();
        for (const Tagged& byte : line) hit += byte.tag == DAMAGED;
        const std::vector<uint32_t> must = untouched(line, lines);
        line.push_back({0, DAMAGED});
        receiver.accepted.clear();
        receiver.feed(line);
        accepted += receiver.accepted.size();
        Bytes plain;
        for (const Tagged& byte : line) plain.push_back(static_cast<char>(byte.byte));
        differs += receiver.accepted != requests_in(plain);
        for (const Bytes& one : receiver.accepted) wrong += !known.count(one);
        size_t at = 0;
        for (uint32_t frame : must) {
            if (!known.count(raws[frame])) continue;
            ++clean;
            size_t there = at;
            while (there < receiver.accepted.size() && receiver.accepted[there] != raws[frame]) ++there;
            if (there < receiver.accepted.size()) at = there + 1;
            else ++lost;
        }
    }
    printf("{\"frames\": %llu, \"bytes\": %llu, \"changed_bytes\": %llu, \"whole\": %llu, \"accepted\": %llu, "
           "\"impostors\": %llu, \"wrong\": %llu, \"lost\": %llu, \"differs\": %llu, \"cycles\": %llu}\n",
           (unsigned long long)frames, (unsigned long long)bytes, (unsigned long long)hit,
           (unsigned long long)clean, (unsigned long long)accepted, (unsigned long long)impostors,
           (unsigned long long)wrong, (unsigned long long)lost, (unsigned long long)differs,
           (unsigned long long)receiver.cycles);
    return 0;
}
