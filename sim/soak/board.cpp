// A board with a power switch behind a pair of pipes: the commands and answers of sim/board/harness.cpp, and two more flags.
//
// A command on standard input is, little endian: u32 bytes to feed, u32 bytes wanted, u64 cycles at most, u32 flags, then
// the bytes.  Flag 2: before that, a reset of all registers; the stores keep what they have.  Flag 4: before that, a new
// board, whose stores hold random words from the seed in flags 31:8.  What was on its way to the board is lost.
#include "Vtop.h"
#include "verilated.h"
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>

static const uint64_t QUIET = 24;

static bool read_all(void* data, size_t size) { return fread(data, 1, size, stdin) == size; }

static VerilatedContext context;
static std::unique_ptr<Vtop> top;
static std::deque<uint8_t> in;
static std::string out;

static bool tick() {
    top->i___05Fvalid = !in.empty();
    top->i___05Fpayload = in.empty() ? 0 : in.front();
    top->o___05Fready = 1;
    top->clk = 0;
    top->eval();
    const bool taken = top->i___05Fvalid && top->i___05Fready, given = top->o___05Fvalid;
    if (given) out.push_back(static_cast<char>(top->o___05Fpayload));
    top->clk = 1;
    top->eval();
    if (taken) in.pop_front();
    return given;
}

static void reset() {
    in.clear();
    top->rst = 1;
    for (int n = 0; n < 4; ++n) tick();
    top->rst = 0;
}

static void power_on(uint32_t seed) {
    context.randReset(2);
    context.randSeed(static_cast<int>(seed) + 1);
    if (top) top->final();
    top = std::make_unique<Vtop>(&context);
    reset();
}

int main() {
    power_on(0);
    for (;;) {
        uint32_t fed, wanted, flags;
        uint64_t limit, ran = 0, quiet = 0;
        if (!read_all(&fed, 4) || !read_all(&wanted, 4) || !read_all(&limit, 8) || !read_all(&flags, 4)) break;
        if (flags & 2) reset();
        if (flags & 4) power_on(flags >> 8);
        for (uint32_t n = 0; n < fed; ++n) {
            uint8_t byte;
            if (!read_all(&byte, 1)) return 1;
            in.push_back(byte);
        }
        out.clear();
        while (ran < limit) {
            if (wanted && out.size() >= wanted && quiet >= QUIET) break;
            quiet = tick() ? 0 : quiet + 1;
            ++ran;
        }
        const uint32_t size = static_cast<uint32_t>(out.size());
        fwrite(&ran, 8, 1, stdout);
        const uint32_t state = (top->active || !in.empty()) | top->busy << 1;
        fwrite(&size, 4, 1, stdout);
        fwrite(&state, 4, 1, stdout);
        fwrite(out.data(), 1, size, stdout);
        fflush(stdout);
    }
    return 0;
}
