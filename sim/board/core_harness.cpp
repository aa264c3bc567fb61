// A compute core (dpnet.gateware.parts.bus.CoreSignature) behind a pair of pipes: stores written and read, runs
// counted, and, where built with VPI, single bits of registers and memories turned over in a run.
//
// Commands on standard input, all numbers little endian u32 but where said:
//   W address count words...            write words from a word address on
//   R address count                     -> words; sticky errors
//   G first last last_vector limit      run; -> u64 cycles, sticky errors, u32 1 if it ended in time
//   H (as G), then at, count, and `count` times name number, word, bit
//                                       run and turn bits over `at` cycles after the start, where
//                                       word CHANGED is the one that the last clock edge changed;
//                                       besides -> u32 bits turned over
//   L count (as G)                      run `count` times; -> u64 cycles of all clocks, sticky errors,
//                                       u32 runs whose cycles were not those of the first
//   N                                   -> text, a line for each register or memory: "name width depth",
//                                       ended by an empty line; their order gives the name numbers
//   F                                   from here on in a copy of the process, until:
//   X                                   back to the state at F
#include "Vtop.h"
#include "verilated.h"
#ifndef DPNET_VPI
#define DPNET_VPI 0
#endif
#if DPNET_VPI
#include "verilated_vpi.h"
#endif
#include <cstdint>
#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#define LINK(member) top.link___05F##member

static VerilatedContext context;

static bool get(void* data, size_t size) { return fread(data, 1, size, stdin) == size; }
static uint32_t number() {
    uint32_t value = 0;
    get(&value, 4);
    return value;
}
template <typename T> static void put(T value) { fwrite(&value, sizeof value, 1, stdout); }

struct Core {
    Vtop top{&context};
    uint64_t clocks = 0;
    uint32_t errors = 0;

    void tick() {
        top.clk = 0;
        top.eval();
        errors |= LINK(errors);
        top.clk = 1;
        top.eval();
        ++clocks;
    }
    void idle() {
        while (LINK(busy)) tick();
    }
    void reset() {
        top.rst = 1;
        for (int n = 0; n < 4; ++n) tick();
        top.rst = 0;
        tick();
        idle();
    }
    void write(uint32_t address, const std::vector<uint32_t>& words) {
        for (uint32_t word : words) {
            LINK(bus___05Faddress) = address++;
            LINK(bus___05Fw_data) = word;
            LINK(bus___05Fwrite) = 1;
            tick();
        }
        LINK(bus___05Fwrite) = 0;
        for (int n = 0; n < 10; ++n) tick();  // the exponents of what was written settle
    }
    std::vector<uint32_t> read(uint32_t address, uint32_t count) {
        std::vector<uint32_t> words;
        for (uint32_t asked = 0; words.size() < count; ++asked) {
            LINK(bus___05Fread) = asked < count;
            LINK(bus___05Faddress) = address + asked;
            top.clk = 0;
            top.eval();
            if (LINK(bus___05Fr_valid)) words.push_back(LINK(bus___05Fr_data));
            tick();
        }
        LINK(bus___05Fread) = 0;
        for (int n = 0; n < 8; ++n) tick();  // an error of the last words comes late
        return words;
    }
    void start(uint32_t first, uint32_t last, uint32_t last_vector) {
        LINK(first) = first;
        LINK(last) = last;
        LINK(last_vector) = last_vector;
        LINK(start) = 1;
        tick();
        LINK(start) = 0;
        tick();
    }
};

#if DPNET_VPI
struct Place {
    vpiHandle handle;
    uint32_t width, depth;
};
static std::vector<Place> places;
static std::string listing;

static void list(vpiHandle scope) {
    vpiHandle found = scope ? vpi_iterate(vpiReg, scope) : nullptr;
    while (vpiHandle item = found ? vpi_scan(found) : nullptr) {
        const bool memory = vpi_get(vpiType, item) == vpiRegArray;  // Verilator has no vpiMemory
        const uint32_t depth = memory ? vpi_get(vpiSize, item) : 0;
        vpiHandle word = memory ? vpi_handle_by_index(item, 0) : item;
        const uint32_t width = vpi_get(vpiSize, word);
        if (memory) vpi_release_handle(word);
        places.push_back({item, width, depth});
        listing += std::string(vpi_get_str(vpiFullName, item)) + " " + std::to_string(width) + " " +
                   std::to_string(depth) + "\n";
    }
    vpiHandle inner = vpi_iterate(vpiModule, scope);
    while (vpiHandle item = inner ? vpi_scan(inner) : nullptr) list(item);
}

static const uint32_t CHANGED = ~0u;

static std::vector<uint32_t> value_of(const Place& place, uint32_t word) {
    vpiHandle item = place.depth ? vpi_handle_by_index(place.handle, word) : place.handle;
    s_vpi_value value;
    value.format = vpiVectorVal;
    vpi_get_value(item, &value);
    std::vector<uint32_t> limbs;
    for (uint32_t n = 0; n < (place.width + 31) / 32; ++n) limbs.push_back(value.value.vector[n].aval);
    if (place.depth) vpi_release_handle(item);
    return limbs;
}

static void flip(const Place& place, uint32_t word, uint32_t bit) {
    std::vector<uint32_t> limbs = value_of(place, word);
    limbs[bit / 32] ^= 1u << bit % 32;
    std::vector<s_vpi_vecval> copy;
    for (uint32_t limb : limbs) copy.push_back({limb, 0});
    s_vpi_value value;
    value.format = vpiVectorVal;
    value.value.vector = copy.data();
    vpiHandle item = place.depth ? vpi_handle_by_index(place.handle, word) : place.handle;
    vpi_put_value(item, &value, nullptr, vpiNoDelay);
    if (place.depth) vpi_release_handle(item);
}

struct Flips {
    std::vector<uint32_t> list;  // place, word, bit of each
    std::vector<std::vector<uint32_t>> before;
    uint32_t done = 0;

    void remember() {
        for (size_t n = 0; n < list.size(); n += 3)
            if (list[n + 1] == CHANGED)
                for (uint32_t word = 0; word < places.at(list[n]).depth; ++word)
                    before.push_back(value_of(places[list[n]], word));
    }
    void perform() {
        size_t next = 0;
        for (size_t n = 0; n < list.size(); n += 3) {
            const Place& place = places.at(list[n]);
            uint32_t word = list[n + 1];
            for (uint32_t other = 0; list[n + 1] == CHANGED && other < place.depth; ++other)
                if (before[next++] != value_of(place, other)) word = other;
            if (word == CHANGED) continue;  // nothing was written
            flip(place, word, list[n + 2]);
            ++done;
        }
    }
};
#endif

int main(int argc, char** argv) {
    context.commandArgs(argc, argv);
    setvbuf(stdin, nullptr, _IONBF, 0);  // a copy of the process must not hold what the other reads
    Core core;
    core.reset();
    char command;
    while (get(&command, 1)) {
        if (command == 'W') {
            const uint32_t address = number();
            std::vector<uint32_t> words(number());
            get(words.data(), 4 * words.size());
            core.write(address, words);
        } else if (command == 'R') {
            const uint32_t address = number(), count = number();
            core.errors = 0;
            for (uint32_t word : core.read(address, count)) put(word);
            put(core.errors);
        } else if (command == 'F') {
            const pid_t child = fork();
            if (child < 0) return 1;
            int status = 0;
            if (child && (waitpid(child, &status, 0) < 0 || status)) return 1;
        } else if (command == 'X') {
            _exit(0);  // no destructors: the simulator's threads are not in the copy
        } else if (command == 'G' || (DPNET_VPI && command == 'H')) {
            const uint32_t first = number(), last = number(), vectors = number(), limit = number();
#if DPNET_VPI
            Flips flips;
            uint32_t at = ~0u;
            if (command == 'H') {
                at = number();
                flips.list.resize(3 * number());
                get(flips.list.data(), 4 * flips.list.size());
            }
#endif
            core.errors = 0;
            core.start(first, last, vectors);
            for (uint32_t clock = 0; core.LINK(busy) && clock < limit; ++clock) {
#if DPNET_VPI
                if (clock == at) flips.remember();
                core.tick();
                if (clock == at) flips.perform();
#else
                core.tick();
#endif
            }
            put<uint64_t>(core.LINK(cycles));
            put<uint32_t>(core.errors);
            put<uint32_t>(!core.LINK(busy));
#if DPNET_VPI
            if (command == 'H') put(flips.done);
#endif
        } else if (command == 'L') {
            const uint32_t count = number();
            const uint32_t first = number(), last = number(), vectors = number(), limit = number();
            core.errors = 0;
            const uint64_t began = core.clocks;
            uint64_t usual = 0;
            uint32_t other = 0;
            for (uint32_t n = 0; n < count; ++n) {
                core.start(first, last, vectors);
                for (uint32_t clock = 0; core.LINK(busy) && clock < limit; ++clock) core.tick();
                if (!n) usual = core.LINK(cycles);
                other += core.LINK(cycles) != usual;
            }
            put<uint64_t>(core.clocks - began);
            put<uint32_t>(core.errors);
            put<uint32_t>(other);
#if DPNET_VPI
        } else if (command == 'N') {
            if (places.empty()) list(nullptr);
            fputs((listing + "\n").c_str(), stdout);
#endif
        } else {
            fprintf(stderr, "unknown command %d\n", command);
            return 1;
        }
        fflush(stdout);
    }
    _exit(0);  // as for X: this may be a copy whose input ended
}
