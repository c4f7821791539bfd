// Matrix products of float32 on one thread, for perceptrons.cpp.
//
// Rows of activations are an odd number of cache lines apart, so that walking down a column meets all sets of
// a cache. What is there beyond a row's width is zero throughout, so that nothing has to treat edges apart.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#ifdef __AVX512F__
constexpr int kLanes = 16, kHeight = 8;
#else
constexpr int kLanes = 8, kHeight = 4;
#endif
constexpr int kColumns = 2 * kLanes;  // of a product, at once; kHeight of its rows
typedef float Vector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Vector& at(float* p, int v) { return *(Vector*)(p + v * kLanes); }
inline const Vector& at(const float* p, int v) { return *(const Vector*)(p + v * kLanes); }
inline int round_up(int number, int step) { return (number + step - 1) / step * step; }
inline int stride_of(int width) { return round_up(width, 32) + 16; }
inline int vectors_of(int width) { return (width + kLanes - 1) / kLanes; }

// Memory that is kept from call to call.
class Room {
  public:
    float* get(size_t size) {
        if (size > lines_.size() * 16) lines_.resize(size / 16 + 1);
        return (float*)lines_.data();
    }

  private:
    struct alignas(64) Line {
        float numbers[16];
    };
    std::vector<Line> lines_;
};

// kHeight rows: out = start + in * panel. A panel is (depth, kColumns), of which V vectors count.
template <int V>
void multiply(const float* in, int in_stride, const float* panel, int depth, const float* start, int start_stride,
              float* out, int out_stride) {
    Vector sums[kHeight][V];
    for (int i = 0; i < kHeight; i++)
        for (int v = 0; v < V; v++) sums[i][v] = at(start + i * start_stride, v);
    for (int k = 0; k < depth; k++) {
        Vector right[V];
        for (int v = 0; v < V; v++) right[v] = at(panel + k * kColumns, v);
        for (int i = 0; i < kHeight; i++) {
            float x = in[i * in_stride + k];
            for (int v = 0; v < V; v++) sums[i][v] += x * right[v];
        }
    }
    for (int i = 0; i < kHeight; i++)
        for (int v = 0; v < V; v++) at(out + i * out_stride, v) = sums[i][v];
}

// A matrix (depth, width) as panels of kColumns columns, zero beyond its width.
class Packed {
  public:
    // The matrix's rows are `stride` apart. `transposed`: its layout is (width, depth).
    void pack(const float* matrix, int stride, int depth, int width, bool transposed) {
        depth_ = depth;
        width_ = width;
        panels_ = room_.get(size_t(depth) * round_up(width, kColumns));
        for (int c = 0; c < width; c += kColumns) {
            float* panel = panels_ + size_t(c) * depth;
            int count = std::min(kColumns, width - c);
            if (count < kColumns) std::memset(panel, 0, size_t(depth) * kColumns * sizeof(float));
            if (transposed)
                for (int i = 0; i < count; i++)
                    for (int k = 0; k < depth; k++) panel[k * kColumns + i] = matrix[size_t(c + i) * stride + k];
            else
                for (int k = 0; k < depth; k++)
                    std::memcpy(panel + k * kColumns, matrix + size_t(k) * stride + c, count * sizeof(float));
        }
    }

    // out (rows, width) = start + in * this, for a multiple of kHeight rows. A bias has start_stride 0.
    void multiply(const float* in, int rows, const float* start, int start_stride, float* out) const {
        int in_stride = stride_of(depth_), out_stride = stride_of(width_);
        for (int c = 0; c < width_; c += kColumns) {
            auto kernel = width_ - c > kLanes ? ::multiply<2> : ::multiply<1>;
            for (int r = 0; r < rows; r += kHeight)
                kernel(in + size_t(r) * in_stride, in_stride, panels_ + size_t(c) * depth_, depth_,
                       start + size_t(r) * start_stride + c, start_stride, out + size_t(r) * out_stride + c, out_stride);
        }
    }

  private:
    Room room_;
    float* panels_ = nullptr;
    int depth_ = 0, width_ = 0;
};

// out[0:kHeight][0:V vectors] (+)= left^T right over `rows` rows; of the result (height, width) is kept.
template <int V>
void outer(const float* left, int left_stride, const float* right, int right_stride, int rows, float* out,
           int out_stride, int height, int width, bool add) {
    Vector sums[kHeight][V] = {};
    for (int r = 0; r < rows; r++, left += left_stride, right += right_stride) {
        Vector line[V];
        for (int v = 0; v < V; v++) line[v] = at(right, v);
        for (int i = 0; i < kHeight; i++)
            for (int v = 0; v < V; v++) sums[i][v] += left[i] * line[v];
    }
    for (int i = 0; i < height; i++) {
        const float* sum = (const float*)sums[i];
        float* to = out + size_t(i) * out_stride;
        if (add)
            for (int c = 0; c < width; c++) to[c] += sum[c];
        else
            std::memcpy(to, sum, width * sizeof(float));
    }
}

// out (left_width, right_width), close together, (+)= left^T right.
inline void outer_product(const float* left, int left_width, const float* right, int right_width, int rows, float* out,
                          bool add) {
    for (int c = 0; c < right_width; c += kColumns) {
        int width = std::min(kColumns, right_width - c);
        auto kernel = width > kLanes ? outer<2> : outer<1>;
        for (int k = 0; k < left_width; k += kHeight)
            kernel(left + k, stride_of(left_width), right + c, stride_of(right_width), rows,
                   out + size_t(k) * right_width + c, right_width, std::min(kHeight, left_width - k), width, add);
    }
}
