// An engine behind its AXI4-Lite door, and a manager that makes one transaction at a time.
//
// A command on standard input is 16 bytes, little endian: u32 what (0 read, 1 write, 2 wait), u32 address,
// u32 value, u32 cycles at most.  The answer is u64 cycles run, u32 value read, u32 response (NO_ANSWER if
// the cycles were over first).  End of input ends the program.
#include "Vtop.h"
#include "verilated.h"
#include <cstdint>
#include <cstdio>

static const uint32_t NO_ANSWER = 0xFFFFFFFF;

struct Command { uint32_t what, address, value, limit; };
struct Answer { uint64_t ran; uint32_t value, response; };

static uint64_t cycle = 0;

// One cycle; `look` sees the outputs that the rising edge samples.
template <class Look> static void tick(Vtop& top, Look look) {
    top.clk = 0;
    top.eval();
    look();
    top.clk = 1;
    top.eval();
    ++cycle;
}

static Answer read(Vtop& top, const Command& command) {
    Answer answer{0, 0, NO_ANSWER};
    bool asked = false, answered = false;
    top.s_axi_araddr = command.address;
    top.s_axi_rready = 1;
    while (!answered && answer.ran++ < command.limit) {
        top.s_axi_arvalid = !asked;
        tick(top, [&] {
            asked = asked || top.s_axi_arready;
            if (!top.s_axi_rvalid) return;
            answered = true;
            answer.value = top.s_axi_rdata;
            answer.response = top.s_axi_rresp;
        });
    }
    top.s_axi_arvalid = top.s_axi_rready = 0;
    return answer;
}

static Answer write(Vtop& top, const Command& command) {
    Answer answer{0, 0, NO_ANSWER};
    bool named = false, given = false, answered = false;
    top.s_axi_awaddr = command.address;
    top.s_axi_wdata = command.value;
    top.s_axi_wstrb = 15;
    top.s_axi_bready = 1;
    while (!answered && answer.ran++ < command.limit) {
        top.s_axi_awvalid = !named;
        top.s_axi_wvalid = !given;
        tick(top, [&] {
            named = named || top.s_axi_awready;
            given = given || top.s_axi_wready;
            if (!top.s_axi_bvalid) return;
            answered = true;
            answer.response = top.s_axi_bresp;
        });
    }
    top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_bready = 0;
    return answer;
}

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top{&context};
    top.rst = 1;
    for (int n = 0; n < 4; ++n) tick(top, [] {});
    top.rst = 0;
    Command command;
    while (fread(&command, sizeof command, 1, stdin) == 1) {
        Answer answer{0, 0, 0};
        if (command.what == 0) answer = read(top, command);
        else if (command.what == 1) answer = write(top, command);
        else
            while (answer.ran < command.limit) tick(top, [] {}), ++answer.ran;
        fwrite(&answer, sizeof answer, 1, stdout);
        fflush(stdout);
    }
    return 0;
}
