// Minimum, maximum, mean, standard deviation and quantiles of every column of every episode, for lerobot_stats.py.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

// All columns of two rows at once: the smaller numbers into one, the larger ones into the other.
void order(double* one, double* other, int64_t columns) {
    for (int64_t c = 0; c < columns; ++c) {
        double less = one[c] < other[c] ? one[c] : other[c];
        double more = one[c] < other[c] ? other[c] : one[c];
        one[c] = less;
        other[c] = more;
    }
}

// Sorts every column by the same exchanges of rows: Batcher's merge exchange (Knuth, volume 3, 5.2.2, algorithm M).
void sort_columns(double* rows, int64_t count, int64_t columns) {
    int64_t highest = 1;
    while (2 * highest < count) highest *= 2;
    for (int64_t p = highest; p > 0; p /= 2) {
        for (int64_t q = highest, r = 0, d = p;; d = q - p, q /= 2, r = p) {
            for (int64_t i = 0; i + d < count; ++i)
                if ((i & p) == r) order(rows + i * columns, rows + (i + d) * columns, columns);
            if (q == p) break;
        }
    }
}

}  // namespace

extern "C" {

// values: (frames of all episodes, columns); out: (episodes, 4 + quantiles, columns).
void describe_episodes(const double* values, int64_t columns, const int64_t* lengths, int64_t episodes,
                       const double* quantiles, int64_t count, double* out) {
    std::vector<double> sorted;
    for (int64_t e = 0; e < episodes; ++e) {
        int64_t frames = lengths[e], numbers = frames * columns;
        sorted.assign(values, values + numbers);
        sort_columns(sorted.data(), frames, columns);
        double *mean = out + 2 * columns, *std = out + 3 * columns;
        std::fill(mean, mean + 2 * columns, 0.0);
        for (int64_t i = 0; i < numbers; i += columns)
            for (int64_t c = 0; c < columns; ++c) mean[c] += values[i + c];
        for (int64_t c = 0; c < columns; ++c) mean[c] /= double(frames);
        for (int64_t i = 0; i < numbers; i += columns)
            for (int64_t c = 0; c < columns; ++c) {
                double away = values[i + c] - mean[c];
                std[c] += away * away;
            }
        for (int64_t c = 0; c < columns; ++c) std[c] = std::sqrt(std[c] / double(frames));
        auto take = [&](int64_t frame, int64_t row) {
            std::copy_n(sorted.data() + frame * columns, columns, out + row * columns);
        };
        take(0, 0);
        take(frames - 1, 1);
        for (int64_t i = 0; i < count; ++i)
            take(int64_t(std::ceil(quantiles[i] * double(frames))) - 1, 4 + i);
        values += numbers;
        out += (4 + count) * columns;
    }
}

}  // extern "C"
