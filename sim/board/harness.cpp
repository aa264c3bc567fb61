// The simulated board behind a pair of pipes: bytes in, bytes out, and time only when asked.
//
// A command on standard input is, little endian: u32 bytes to feed, u32 bytes wanted, u64 cycles at
// most, u32 flags (bit 0: write a waveform of these cycles), then the bytes.  The simulation runs until the
// wanted bytes came out and nothing more follows for QUIET cycles, or the cycles are over.  The answer is u64
// cycles run, u32 bytes, u32 state (bit 0: a request without its answer, or bytes that were not taken; bit 1:
// a run), then the bytes.  End of input ends the program.
#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif
#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>

// Verilator writes the double underscore of a port's name as ___05F.
#define PORT(stream, member) stream##___05F##member

static const uint64_t QUIET = 24;

static bool read_all(void* data, size_t size) { return fread(data, 1, size, stdin) == size; }

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top{&context};
#if VM_TRACE
    context.traceEverOn(true);
    VerilatedVcdC trace;
    top.trace(&trace, 99);
    if (argc > 1) trace.open(argv[1]);
#endif
    bool tracing = false;
    uint64_t cycle = 0;
    auto half = [&](int clock) {
        top.clk = clock;
        top.eval();
#if VM_TRACE
        if (tracing) trace.dump(cycle * 10000 + (clock ? 5000 : 0));  // picoseconds
#endif
    };
    std::deque<uint8_t> in;
    std::string out;
    auto tick = [&]() {
        // Inputs change after the falling edge and are sampled by the rising one.
        top.PORT(i, valid) = !in.empty();
        top.PORT(i, payload) = in.empty() ? 0 : in.front();
        top.PORT(o, ready) = 1;
        half(0);
        const bool taken = top.PORT(i, valid) && top.PORT(i, ready);
        const bool given = top.PORT(o, valid);
        if (given) out.push_back(static_cast<char>(top.PORT(o, payload)));
        half(1);
        ++cycle;
        if (taken) in.pop_front();
        return given;
    };
    top.rst = 1;
    for (int n = 0; n < 4; ++n) tick();
    out.clear();
    top.rst = 0;

    for (;;) {
        uint32_t fed, wanted, flags;
        uint64_t limit;
        if (!read_all(&fed, 4) || !read_all(&wanted, 4) || !read_all(&limit, 8)
            || !read_all(&flags, 4))
            break;
        for (uint32_t n = 0; n < fed; ++n) {
            uint8_t byte;
            if (!read_all(&byte, 1)) return 1;
            in.push_back(byte);
        }
        tracing = flags & 1;
        out.clear();
        uint64_t ran = 0, quiet = 0;
        while (ran < limit) {
            if (wanted && out.size() >= wanted && quiet >= QUIET) break;
            quiet = tick() ? 0 : quiet + 1;
            ++ran;
        }
        const uint32_t size = out.size();
        fwrite(&ran, 8, 1, stdout);
        const uint32_t state = (top.active || !in.empty()) | top.busy << 1;
        fwrite(&size, 4, 1, stdout);
        fwrite(&state, 4, 1, stdout);
        fwrite(out.data(), 1, size, stdout);
        fflush(stdout);
#if VM_TRACE
        if (tracing) trace.flush();
#endif
    }
#if VM_TRACE
    trace.close();
#endif
    return 0;
}
