// Where transitions of a ring end, what they are worth, and their rows side by side, for transitions.py.

#include <cstdint>
#include <cstring>

namespace {

// What is waited for is memory: so many rows ahead it is asked for.
constexpr int64_t kAhead = 6;
constexpr int64_t kLine = 64;

void ask_for(const float* row, int64_t numbers) {
    const char* bytes = reinterpret_cast<const char*>(row);
    for (int64_t at = 0; at < numbers * int64_t(sizeof(float)); at += kLine) __builtin_prefetch(bytes + at);
}

}  // namespace

extern "C" {

// As `FACTS` in transitions.py.
struct Facts {
    int64_t following;
    float reward;
    uint8_t terminated;
};

// For each of `count` rows at `start`: the row that a transition over up to `steps` decisions ends at, the
// discounted sum of its rewards and the discount of what comes behind. Slot `unknown` stands for no row.
// Products of two floats are exact in double: the same sum with a fused multiply-add as without one.
void transition_ends(const Facts* facts, int64_t unknown, const int64_t* start, int64_t count, int32_t steps,
                     const float* powers, float offset, int64_t* end, float* reward, float* discount) {
    // Blocks that stay in the first cache; within one, step after step, so that reads do not wait for each other.
    constexpr int64_t kBlock = 256;
    double sums[kBlock];
    for (int64_t first = 0; first < count; first += kBlock) {
        int64_t rows = count - first < kBlock ? count - first : kBlock;
        for (int64_t i = 0; i < rows; ++i) {
            sums[i] = 0.0;
            end[first + i] = start[first + i];
            discount[first + i] = 1.0f;
        }
        for (int32_t step = 0; step < steps; ++step) {
            for (int64_t i = 0; i < rows; ++i) {
                const Facts& fact = facts[end[first + i]];
                if (fact.following == unknown) continue;
                sums[i] += double(powers[step]) * double(fact.reward + offset);
                discount[first + i] = fact.terminated ? 0.0f : powers[step + 1];
                end[first + i] = fact.following;
                __builtin_prefetch(facts + fact.following);
            }
        }
        for (int64_t i = 0; i < rows; ++i) reward[first + i] = float(sums[i]);
    }
}

// The rows (`width` numbers each) at `start`, and the first `head` numbers of those at `end`.
void transition_rows(const float* rows, int64_t width, int64_t head, const int64_t* start, const int64_t* end,
                     int64_t count, float* before, float* after) {
    for (int64_t i = 0; i < count; ++i) {
        if (i + kAhead < count) {
            ask_for(rows + start[i + kAhead] * width, width);
            ask_for(rows + end[i + kAhead] * width, head);
        }
        std::memcpy(before + i * width, rows + start[i] * width, width * sizeof(float));
        std::memcpy(after + i * head, rows + end[i] * width, head * sizeof(float));
    }
}

}  // extern "C"
