// Frames of the link as docs/link.md describes them: made, damaged, decoded.
//
// Written for the soak runs alone; it shares nothing with gateware/ and host/, so that it can judge them.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

using Bytes = std::string;  // header and payload of a frame, or bytes on the line

static const int HEADER_BYTES = 10, CRC_BYTES = 4, MOST_PAYLOAD = 256, READ = 1;

struct Random {  // SplitMix64
    uint64_t state;
    explicit Random(uint64_t seed) : state(seed) {}
    uint64_t next() {
        uint64_t z = (state += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }
    uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }
    double unit() { return (next() >> 11) * 0x1.0p-53; }
    bool chance(double share) { return unit() < share; }
};

inline uint32_t crc32(const Bytes& data) {
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t n = 0; n < 256; ++n) {
            uint32_t value = n;
            for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
            table[n] = value;
        }
    uint32_t crc = ~0u;
    for (unsigned char byte : data) crc = crc >> 8 ^ table[(crc ^ byte) & 255];
    return ~crc;
}

// COBS as its paper has it: a code byte n, n - 1 bytes, and a zero unless n is 255 or the frame ends.
inline Bytes stuff(const Bytes& raw) {
    Bytes out(1, '\0');
    size_t code = 0;
    for (size_t n = 0; n < raw.size(); ++n) {
        if (raw[n]) out.push_back(raw[n]);
        const size_t length = out.size() - code;
        if (!raw[n] || (length == 255 && n + 1 < raw.size())) {
            out[code] = static_cast<char>(length);
            code = out.size();
            out.push_back('\0');
        }
    }
    out[code] = static_cast<char>(out.size() - code);
    return out;
}

inline bool unstuff(const Bytes& stuffed, Bytes& raw) {
    raw.clear();
    for (size_t at = 0; at < stuffed.size();) {
        const size_t code = static_cast<unsigned char>(stuffed[at]);
        if (!code || at + code > stuffed.size()) return false;
        raw.append(stuffed, at + 1, code - 1);
        at += code;
        if (code < 255 && at < stuffed.size()) raw.push_back('\0');
    }
    return true;
}

inline Bytes with_crc(const Bytes& raw) {
    const uint32_t crc = crc32(raw);
    Bytes out = raw;
    for (int n = 0; n < CRC_BYTES; ++n) out.push_back(static_cast<char>(crc >> 8 * n));
    return out;
}

inline Bytes line_of(const Bytes& raw) { return Bytes(1, '\0') + stuff(with_crc(raw)) + Bytes(1, '\0'); }

inline unsigned length_of(const Bytes& raw) {
    return static_cast<unsigned char>(raw[8]) | static_cast<unsigned char>(raw[9]) << 8;
}
inline bool reads(const Bytes& raw) { return (raw[0] & 15) == READ; }

// Whether header and payload are those of a request: no response, a READ without payload, any other as its
// length says and of at most 256 bytes.
inline bool is_request(const Bytes& raw) {
    if (raw.size() < HEADER_BYTES || raw[0] & 0x80) return false;
    const size_t payload = raw.size() - HEADER_BYTES;
    return reads(raw) ? payload == 0 : payload == length_of(raw) && payload <= MOST_PAYLOAD;
}

// What a receiver must accept of line bytes that end with a zero, in order.
inline std::vector<Bytes> requests_in(const Bytes& line) {
    std::vector<Bytes> found;
    Bytes raw;
    for (size_t from = 0, to; (to = line.find('\0', from)) != Bytes::npos; from = to + 1) {
        if (to == from || !unstuff(line.substr(from, to - from), raw)) continue;
        if (raw.size() < HEADER_BYTES + CRC_BYTES) continue;
        const Bytes body = raw.substr(0, raw.size() - CRC_BYTES);
        if (with_crc(body) == raw && is_request(body)) found.push_back(body);
    }
    return found;
}

// A request with a random header and payload; most are short, so that many frames go into a run.
inline Bytes random_request(Random& random, int longest = MOST_PAYLOAD) {
    Bytes raw;
    raw.push_back(static_cast<char>(random.below(8) << 4 | random.below(16)));
    for (int n = 1; n < HEADER_BYTES; ++n)
        raw.push_back(static_cast<char>(random.chance(0.2) ? 0 : random.next()));
    if (reads(raw)) return raw;
    int most = 16;
    while (most < longest && random.chance(0.5)) most *= 2;
    const int size = random.below(most + 1);
    raw[8] = static_cast<char>(size);
    raw[9] = static_cast<char>(size >> 8);
    const double zeros = random.chance(0.1) ? 0.5 : random.chance(0.3) ? 0.0 : 0.02;
    for (int n = 0; n < size; ++n)
        raw.push_back(static_cast<char>(random.chance(zeros) ? 0 : 1 + random.below(255)));
    return raw;
}

// A frame with a right CRC that no receiver may take: a response, or of another length than it says.
inline Bytes random_impostor(Random& random) {
    for (;;) {
        Bytes raw = random_request(random);
        switch (random.below(4)) {
            case 0: raw[0] = static_cast<char>(raw[0] | 0x80); break;
            case 1: raw[8] = static_cast<char>(random.next()); break;
            case 2: raw[9] = static_cast<char>(1 + random.below(255)); break;
            default: raw.append(1 + random.below(400), 'x');
        }
        if (!is_request(raw)) return raw;
    }
}
