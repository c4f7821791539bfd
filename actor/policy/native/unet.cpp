// Straight-line programs of small 1-D convolutions, built by diffusion/native.py, and DDIM sampling over them.
//
// Values have the layout (rows, frames + 2 * margin, channels); the margins stay zero, so that the input window of
// a convolution's output frame is one contiguous run of memory: a convolution is a matrix product whose
// left rows overlap. A few rows go through the whole program at once and stay in the caches.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif
constexpr int kColumns = 2 * kLanes;  // of the product, at once
constexpr int kHeight = 6;            // rows of the product, at once: 12 accumulators
constexpr int kMargin = 4;            // frames; diffusion/native.py checks that no window reaches further
typedef float Vector __attribute__((vector_size(kLanes * 4), aligned(4)));

struct Value {
    int frames, channels;
    std::vector<float> data;
    size_t stride() const { return size_t(frames + 2 * kMargin) * channels; }
    float* at(int row, int frame) { return data.data() + row * stride() + size_t(frame + kMargin) * channels; }
};

struct Sampler {
    int tile, film_size;
    std::vector<std::unique_ptr<Value>> values;
    // Called with the number of rows, their films and the step's film.
    std::vector<std::function<void(int, const float*, const float*)>> program;
};

// out[i][0:count] (+)= bias + in[i][0:depth] * weight[0:depth][0:kColumns] for kHeight rows i.
void product(const float* const* in, float* const* out, const float* weight, const float* bias, int depth,
             int count, bool add) {
    Vector sums[kHeight][2];
    for (auto& sum : sums) std::memcpy(sum, bias, sizeof(sum));
    for (int k = 0; k < depth; k++) {
        Vector left = *(const Vector*)(weight + k * kColumns);
        Vector right = *(const Vector*)(weight + k * kColumns + kLanes);
        for (int i = 0; i < kHeight; i++) {
            float x = in[i][k];
            sums[i][0] += x * left;
            sums[i][1] += x * right;
        }
    }
    for (int i = 0; i < kHeight; i++) {
        // The last rows may be the same one over again: add to what was there before any of them.
        if (i > 0 && out[i] == out[i - 1]) continue;
        const float* sum = (const float*)sums[i];
        if (add)
            for (int c = 0; c < count; c++) out[i][c] += sum[c];
        else
            std::memcpy(out[i], sum, count * sizeof(float));
    }
}

// e^x for x <= 30: 2^n * 2^f, f in [-1/2, 1/2], relative error below 1e-7 (Cephes' polynomial).
inline float exponential(float x) {
    x = std::max(x, -80.0f);
    float n = std::floor(x * 1.44269504f + 0.5f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = (int32_t(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof(power));
    return p * power;
}

// x * tanh(log(1 + e^x)) = x * (e^2x + 2 e^x) / (e^2x + 2 e^x + 2).
inline float mish(float x) {
    float e = exponential(std::min(x, 30.0f));
    float n = e * (e + 2.0f);
    return x * (n / (n + 2.0f));
}

}  // namespace

extern "C" {

void* sampler_new(int tile, int film_size) { return new Sampler{tile, film_size, {}, {}}; }

void sampler_free(void* sampler) { delete (Sampler*)sampler; }

// A new value; returns its number.
int sampler_value(void* handle, int frames, int channels) {
    auto& s = *(Sampler*)handle;
    auto value = std::make_unique<Value>(Value{frames, channels, {}});
    value->data.assign(s.tile * value->stride(), 0.0f);
    s.values.push_back(std::move(value));
    return int(s.values.size()) - 1;
}

// Output frame out_first + i * out_every, i < count, from `taps` input frames from in_first + i * in_every
// on. weight: (taps * input channels, output channels); `add` adds to what `out` holds.
void sampler_conv(void* handle, int in, int out, int count, int taps, int in_first, int in_every,
                  int out_first, int out_every, const float* weight, const float* bias, int add) {
    auto& s = *(Sampler*)handle;
    Value *source = s.values[in].get(), *target = s.values[out].get();
    int depth = taps * source->channels, outputs = target->channels;
    int blocks = (outputs + kColumns - 1) / kColumns;
    std::vector<float> packed(size_t(blocks) * depth * kColumns, 0.0f), shift(blocks * kColumns, 0.0f);
    for (int c = 0; c < outputs; c++) {
        shift[c] = bias[c];
        for (int k = 0; k < depth; k++)
            packed[(size_t(c / kColumns) * depth + k) * kColumns + c % kColumns] = weight[size_t(k) * outputs + c];
    }
    std::vector<const float*> from;
    std::vector<float*> to;
    for (int row = 0; row < s.tile; row++)
        for (int i = 0; i < count; i++) {
            from.push_back(source->at(row, in_first + i * in_every));
            to.push_back(target->at(row, out_first + i * out_every));
        }
    s.program.push_back([=](int rows, const float*, const float*) {
        int height = rows * count;
        for (int block = 0; block < blocks; block++) {
            int first = block * kColumns;
            const float* part = packed.data() + size_t(block) * depth * kColumns;
            for (int i = 0; i < height; i += kHeight) {
                const float* left[kHeight];
                float* result[kHeight];
                for (int j = 0; j < kHeight; j++) {
                    int at = std::min(i + j, height - 1);
                    left[j] = from[at];
                    result[j] = to[at] + first;
                }
                product(left, result, part, shift.data() + first, depth, std::min(kColumns, outputs - first), add);
            }
        }
    });
}

// In place: GroupNorm, Mish, then (film >= 0) FiLM with scale and shift from place `film` of the films.
void sampler_norm(void* handle, int in, int groups, float epsilon, const float* gain, const float* bias, int film) {
    auto& s = *(Sampler*)handle;
    Value* value = s.values[in].get();
    int frames = value->frames, channels = value->channels, width = channels / groups, film_size = s.film_size;
    std::vector<float> gains(gain, gain + channels), biases(bias, bias + channels);
    std::vector<float> room(4 * channels);
    s.program.push_back([=](int rows, const float* films, const float* step) mutable {
        float *scale = room.data(), *shift = scale + channels, *film_scale = shift + channels, *film_shift = film_scale + channels;
        for (int row = 0; row < rows; row++) {
            float* x = value->at(row, 0);
            std::fill(scale, scale + 2 * channels, 0.0f);
            for (int t = 0; t < frames; t++)
                for (int c = 0; c < channels; c++) shift[c] += x[t * channels + c];
            for (int g = 0; g < channels; g += width) {
                float mean = 0.0f;
                for (int c = g; c < g + width; c++) mean += shift[c];
                std::fill(shift + g, shift + g + width, mean / (frames * width));
            }
            for (int t = 0; t < frames; t++)
                for (int c = 0; c < channels; c++) {
                    float d = x[t * channels + c] - shift[c];
                    scale[c] += d * d;
                }
            for (int g = 0; g < channels; g += width) {
                float square = 0.0f;
                for (int c = g; c < g + width; c++) square += scale[c];
                float inverse = 1.0f / std::sqrt(square / (frames * width) + epsilon);
                for (int c = g; c < g + width; c++) {
                    scale[c] = inverse * gains[c];
                    shift[c] = biases[c] - shift[c] * scale[c];
                }
            }
            for (int c = 0; c < channels; c++) {
                const float* own = films + size_t(row) * film_size + film;
                film_scale[c] = film < 0 ? 1.0f : own[c] + step[film + c];
                film_shift[c] = film < 0 ? 0.0f : own[channels + c] + step[film + channels + c];
            }
            for (int t = 0; t < frames; t++)
                for (int c = 0; c < channels; c++) {
                    float& y = x[t * channels + c];
                    y = mish(y * scale[c] + shift[c]) * film_scale[c] + film_shift[c];
                }
        }
    });
}

// out[..., first : first + channels] = in, or += with `add`.
void sampler_copy(void* handle, int in, int out, int first, int add) {
    auto& s = *(Sampler*)handle;
    Value *source = s.values[in].get(), *target = s.values[out].get();
    s.program.push_back([=](int rows, const float*, const float*) {
        int channels = source->channels;
        for (int row = 0; row < rows; row++)
            for (int t = 0; t < source->frames; t++) {
                const float* x = source->at(row, t);
                float* y = target->at(row, t) + first;
                for (int c = 0; c < channels; c++) y[c] = add ? y[c] + x[c] : x[c];
            }
    });
}

// DDIM (Song et al. 2021, eq. 12, eta 0) in place of samples (rows, frames, actions). films: (rows,
// film_size); of_step: (steps, film_size); weights: (steps, 4) roots of alpha, 1 - alpha, and the same two
// of the next step's. prediction: what the network predicts, 0 the noise, 1 the clean sample, 2 the velocity.
void sampler_run(void* handle, int in, int out, float* samples, int rows, const float* films,
                 const float* of_step, const float* weights, int steps, int prediction) {
    auto& s = *(Sampler*)handle;
    Value *input = s.values[in].get(), *output = s.values[out].get();
    int numbers = input->frames * input->channels;
    for (int first = 0; first < rows; first += s.tile) {
        int count = std::min(s.tile, rows - first);
        for (int step = 0; step < steps; step++) {
            for (int row = 0; row < count; row++)
                std::memcpy(input->at(row, 0), samples + size_t(first + row) * numbers, numbers * sizeof(float));
            for (auto& operation : s.program)
                operation(count, films + size_t(first) * s.film_size, of_step + size_t(step) * s.film_size);
            const float* w = weights + 4 * step;
            for (int row = 0; row < count; row++) {
                float *x = samples + size_t(first + row) * numbers, *predicted = output->at(row, 0);
                for (int i = 0; i < numbers; i++) {
                    float clean = prediction == 0   ? (x[i] - w[1] * predicted[i]) / w[0]
                                  : prediction == 1 ? predicted[i]
                                                    : w[0] * x[i] - w[1] * predicted[i];
                    float noise = prediction == 0   ? predicted[i]
                                  : prediction == 1 ? (x[i] - w[0] * clean) / w[1]
                                                    : w[0] * predicted[i] + w[1] * x[i];
                    x[i] = w[2] * std::min(std::max(clean, -1.0f), 1.0f) + w[3] * noise;
                }
            }
        }
    }
}

}  // extern "C"
