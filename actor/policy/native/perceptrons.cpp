// Stacked multilayer perceptrons, forward and backward, for perceptrons.py. Each member computes
//   x = ((observation - mean) * scale, rest),  h = ReLU(LayerNorm(x W + b)) for every hidden layer,  h W + b.
// Rows go through a whole member a block at a time and stay in the caches meanwhile.

#include <cmath>
#include <cstdint>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "products.h"

extern "C" {

// Field by field as in perceptrons.py.
struct Network {
    int32_t layers;            // hidden ones and the last
    int32_t normed;            // layer norm behind each hidden layer
    int32_t by_output;         // layout of weights: (outputs, inputs), as those of torch's Linear
    const int32_t* widths;     // inputs, hidden layers, outputs
    float* const* parameters;  // of each layer weight, bias and, where it is normed, scale and shift
};

struct Input {
    int32_t rows, observation_numbers, observation_stride, rest_numbers, rest_stride;
    const float *observation, *mean, *scale, *rest;
};

// Gradients that a backward pass is asked for.
struct Wanted {
    float* const* parameters;  // of all members, as in Network; or null
    float* inputs;             // (rows, inputs - first) of x from `first` on, over all members; or null
    int32_t first;
};

}  // extern "C"

namespace {

constexpr int kBlock = 128;         // rows that go through a member together
constexpr int kMostLayers = 16;     // as in perceptrons.py
constexpr int kNarrow = 4;          // outputs up to which the last layer is dot products
constexpr float kEpsilon = 1e-5f;   // of torch's layer norm

struct Layer {
    int inputs, outputs;
    float *weight, *bias, *scale, *shift;
};

Layer layer_of(const Network& net, float* const* parameters, int member, int index) {
    int inputs = net.widths[index], outputs = net.widths[index + 1];
    bool normed = net.normed && index + 1 < net.layers;
    float* const* own = parameters + index * (net.normed ? 4 : 2);
    size_t first = size_t(member) * outputs;
    return {inputs, outputs, own[0] + first * inputs, own[1] + first, normed ? own[2] + first : nullptr,
            normed ? own[3] + first : nullptr};
}

// Where a forward pass keeps what the backward pass reads: x, then of each member and hidden layer what it gave,
// or, where it is normed, what the norm gave: the rest is sooner computed again than read.
class Kept {
  public:
    Kept(const Network& net, int rows, float* data) : net_(net), rows_(round_up(rows, kHeight)), data_(data) {
        for (int i = 0; i + 1 < net.layers; i++) member_size_ += layer_size(i);
    }
    size_t size(int members) const { return matrix_size(0) + members * member_size_; }
    float* x() const { return data_; }
    float* hidden(int member, int layer, int row) const {
        return begin(member, layer) + size_t(row) * stride_of(net_.widths[layer + 1]);
    }
    float* normalised(int member, int layer, int row) const { return hidden(member, layer, row); }
    float* inverse_deviation(int member, int layer, int row) const {
        return begin(member, layer) + matrix_size(layer + 1) + row;
    }

  private:
    size_t matrix_size(int width) const { return size_t(rows_) * stride_of(net_.widths[width]); }
    size_t layer_size(int layer) const {
        return matrix_size(layer + 1) + (net_.normed ? round_up(rows_, 16) : 0);
    }
    float* begin(int member, int layer) const {
        float* p = data_ + matrix_size(0) + member * member_size_;
        for (int i = 0; i < layer; i++) p += layer_size(i);
        return p;
    }
    const Network& net_;
    int rows_;
    float* data_;
    size_t member_size_ = 0;
};

// A member's weights as the kernels read them.
struct Prepared {
    Packed weight[kMostLayers];
    Room bias[kMostLayers], scale[kMostLayers], shift[kMostLayers];
};

struct Rooms {
    Prepared prepared;
    Room x, buffers[2], hidden, narrow, sums[3], inputs, zeros, mask;
};
thread_local Rooms rooms;

float* padded(Room& room, const float* numbers, int count) {
    float* out = room.get(stride_of(count));
    std::memcpy(out, numbers, count * sizeof(float));
    std::fill(out + count, out + stride_of(count), 0.0f);
    return out;
}

float* filled(Room& room, int count, float value) {
    float* out = room.get(stride_of(count));
    std::fill(out, out + count, value);
    std::fill(out + count, out + stride_of(count), 0.0f);
    return out;
}

inline float total(Vector x) {
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)x);
#else
    float sum = 0.0f;
    for (int i = 0; i < kLanes; i++) sum += x[i];
    return sum;
#endif
}

// Not a number stays what it is, as in torch.
inline Vector relu(Vector x) { return x < 0.0f ? Vector{} : x; }

int widest(const Network& net) { return *std::max_element(net.widths, net.widths + net.layers + 1); }

void write_x(const Input& in, float* x) {
    int seen = in.observation_numbers, stride = stride_of(seen + in.rest_numbers);
    std::memset(x, 0, size_t(round_up(in.rows, kHeight)) * stride * sizeof(float));
    for (int r = 0; r < in.rows; r++, x += stride) {
        const float* observation = in.observation + size_t(r) * in.observation_stride;
        for (int c = 0; c < seen; c++) x[c] = (observation[c] - in.mean[c]) * in.scale[c];
        if (in.rest) std::memcpy(x + seen, in.rest + size_t(r) * in.rest_stride, in.rest_numbers * sizeof(float));
    }
}

// What a hidden layer does behind its product z; `out` and `normalised` may be z itself.
void norm_relu(const float* z, int rows, const Layer& layer, const float* scale, const float* shift, float* out,
               float* normalised, float* inverse_deviation) {
    int stride = stride_of(layer.outputs), vectors = vectors_of(layer.outputs);
    const float* mask = filled(rooms.mask, layer.outputs, 1.0f);
    for (int r = 0; r < rows; r++, z += stride, out += stride, normalised += stride) {
        Vector sum = {}, squares = {};
        for (int v = 0; v < vectors; v++) sum += at(z, v);
        float mean = total(sum) / layer.outputs;
        for (int v = 0; v < vectors; v++) {
            Vector d = (at(z, v) - mean) * at(mask, v);
            squares += d * d;
        }
        float inverse = 1.0f / std::sqrt(total(squares) / layer.outputs + kEpsilon);
        inverse_deviation[r] = inverse;
        for (int v = 0; v < vectors; v++) {
            Vector x = (at(z, v) - mean) * at(mask, v) * inverse;
            at(normalised, v) = x;
            at(out, v) = relu(x * at(scale, v) + at(shift, v));
        }
    }
}

void plain_relu(float* z, int rows, int width) {
    for (int r = 0; r < rows; r++, z += stride_of(width))
        for (int v = 0; v < vectors_of(width); v++) at(z, v) = relu(at(z, v));
}

// Weights of a last layer with few outputs, a padded row for each.
const float* rows_of_weights(const Layer& layer, bool by_output) {
    int stride = stride_of(layer.inputs);
    float* rows = rooms.narrow.get(size_t(layer.outputs) * stride);
    std::fill(rows, rows + size_t(layer.outputs) * stride, 0.0f);
    for (int o = 0; o < layer.outputs; o++)
        for (int k = 0; k < layer.inputs; k++)
            rows[o * stride + k] = layer.weight[by_output ? o * layer.inputs + k : k * layer.outputs + o];
    return rows;
}

void dot_products(const float* in, int rows, const Layer& layer, const float* weights, float* out) {
    int stride = stride_of(layer.inputs);
    for (int r = 0; r < rows; r++, in += stride)
        for (int o = 0; o < layer.outputs; o++) {
            Vector sum = {};
            for (int v = 0; v < vectors_of(layer.inputs); v++) sum += at(in, v) * at(weights + o * stride, v);
            *out++ = total(sum) + layer.bias[o];
        }
}

// `keep`: hidden layers go to the member's place in `kept`, of which x alone is there otherwise.
void forward_member(const Network& net, int member, int place, const Kept& kept, bool keep, int rows, float* out) {
    Prepared& prepared = rooms.prepared;
    int last = net.layers - 1;
    for (int i = 0; i <= last; i++) {
        Layer layer = layer_of(net, net.parameters, member, i);
        prepared.weight[i].pack(layer.weight, net.by_output ? layer.inputs : layer.outputs, layer.inputs,
                                layer.outputs, net.by_output);
        padded(prepared.bias[i], layer.bias, layer.outputs);
        if (layer.scale) padded(prepared.scale[i], layer.scale, layer.outputs);
        if (layer.scale) padded(prepared.shift[i], layer.shift, layer.outputs);
    }
    const float* narrow = nullptr;
    if (net.widths[last + 1] <= kNarrow)
        narrow = rows_of_weights(layer_of(net, net.parameters, member, last), net.by_output);
    float* buffers[2];
    for (int i = 0; i < 2; i++) buffers[i] = rooms.buffers[i].get(size_t(kBlock) * stride_of(widest(net)));
    for (int first = 0; first < rows; first += kBlock) {
        int count = std::min(kBlock, rows - first), height = round_up(count, kHeight);
        const float* in = kept.x() + size_t(first) * stride_of(net.widths[0]);
        for (int i = 0; i <= last; i++) {
            Layer layer = layer_of(net, net.parameters, member, i);
            if (i == last && layer.outputs <= kNarrow) break;
            float* h = keep && i < last && !layer.scale ? kept.hidden(place, i, first) : buffers[i % 2];
            prepared.weight[i].multiply(in, height, prepared.bias[i].get(0), 0, h);
            if (layer.scale) {
                float unread[kBlock];
                norm_relu(h, height, layer, prepared.scale[i].get(0), prepared.shift[i].get(0), h,
                          keep ? kept.normalised(place, i, first) : h,
                          keep ? kept.inverse_deviation(place, i, first) : unread);
            } else if (i < last) {
                plain_relu(h, height, layer.outputs);
            }
            in = h;
        }
        int width = net.widths[last + 1];
        float* to = out + size_t(first) * width;
        if (width <= kNarrow)
            dot_products(in, count, layer_of(net, net.parameters, member, last), narrow, to);
        else
            for (int r = 0; r < count; r++)
                std::memcpy(to + size_t(r) * width, in + r * stride_of(width), width * sizeof(float));
    }
}

// d: gradient by a hidden layer's output -> by what ReLU got.
void backward_relu(float* d, const float* hidden, int rows, int width) {
    int stride = stride_of(width);
    for (int r = 0; r < rows; r++, d += stride, hidden += stride)
        for (int v = 0; v < vectors_of(width); v++) at(d, v) = at(hidden, v) <= 0.0f ? Vector{} : at(d, v);
}

// d: gradient by a hidden layer's output -> by its product, through ReLU and norm; adds to those by scale and shift.
void backward_norm_relu(float* d, const float* normalised, const float* inverse_deviation, int rows, int width,
                        const float* scale, const float* shift, float* d_scale, float* d_shift) {
    int stride = stride_of(width), vectors = vectors_of(width);
    const float* mask = filled(rooms.mask, width, 1.0f);
    for (int r = 0; r < rows; r++, d += stride, normalised += stride) {
        Vector sum = {}, sum_with_x = {};
        for (int v = 0; v < vectors; v++) {
            Vector x = at(normalised, v), y = x * at(scale, v) + at(shift, v);
            Vector g = y <= 0.0f ? Vector{} : at(d, v);
            at(d_shift, v) += g;
            at(d_scale, v) += g * x;
            g *= at(scale, v);
            at(d, v) = g;
            sum += g;
            sum_with_x += g * x;
        }
        float mean = total(sum) / width, mean_with_x = total(sum_with_x) / width, inverse = inverse_deviation[r];
        for (int v = 0; v < vectors; v++)
            at(d, v) = (at(d, v) - mean - at(normalised, v) * mean_with_x) * inverse * at(mask, v);
    }
}

// What a layer got in the forward pass.
const float* input_of(const Network& net, const Kept& kept, int place, int layer, int first, int rows) {
    int width = net.widths[layer], stride = stride_of(width);
    if (layer == 0) return kept.x() + size_t(first) * stride;
    if (!net.normed) return kept.hidden(place, layer - 1, first);
    const float* normalised = kept.normalised(place, layer - 1, first);
    const float *scale = rooms.prepared.scale[layer - 1].get(0), *shift = rooms.prepared.shift[layer - 1].get(0);
    float* out = rooms.hidden.get(size_t(kBlock) * stride);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors_of(width); v++)
            at(out + r * stride, v) = relu(at(normalised + r * stride, v) * at(scale, v) + at(shift, v));
    return out;
}

// to (+)= the first `width` of each of `count` padded numbers.
void give(const float* from, int width, float* to, bool add) {
    for (int c = 0; c < width; c++) to[c] = add ? to[c] + from[c] : from[c];
}

void add_rows(const float* d, int rows, int width, float* sum) {
    for (int r = 0; r < rows; r++, d += stride_of(width))
        for (int v = 0; v < vectors_of(width); v++) at(sum, v) += at(d, v);
}

// From a gradient d by a layer's product and the layer's input: those by its weight and bias.
void weight_gradient(const Network& net, const Layer& layer, const float* in, const float* d, int rows,
                     const Layer& gradient, bool add) {
    // With one output both layouts are the same.
    if (net.by_output || layer.outputs == 1)
        outer_product(d, layer.outputs, in, layer.inputs, rows, gradient.weight, add);
    else
        outer_product(in, layer.inputs, d, layer.outputs, rows, gradient.weight, add);
    float* sum = filled(rooms.sums[0], layer.outputs, 0.0f);
    add_rows(d, rows, layer.outputs, sum);
    give(sum, layer.outputs, gradient.bias, add);
}

// d: gradient by a hidden layer's output -> by its product.
void backward_hidden(const Layer& layer, const Kept& kept, int place, int index, int first, int rows, float* d,
                     const Layer* gradient, bool add) {
    int width = layer.outputs;
    if (!layer.scale) return backward_relu(d, kept.hidden(place, index, first), rows, width);
    float *d_scale = filled(rooms.sums[1], width, 0.0f), *d_shift = filled(rooms.sums[2], width, 0.0f);
    backward_norm_relu(d, kept.normalised(place, index, first), kept.inverse_deviation(place, index, first), rows,
                       width, rooms.prepared.scale[index].get(0), rooms.prepared.shift[index].get(0), d_scale,
                       d_shift);
    if (!gradient) return;
    give(d_scale, width, gradient->scale, add);
    give(d_shift, width, gradient->shift, add);
}

// Weights for gradients by a layer's inputs, of the first layer by those alone that are wanted.
void prepare_backward(const Network& net, int member, int first_input) {
    for (int i = 0; i < net.layers; i++) {
        Layer layer = layer_of(net, net.parameters, member, i);
        if (layer.scale) padded(rooms.prepared.scale[i], layer.scale, layer.outputs);
        if (layer.scale) padded(rooms.prepared.shift[i], layer.shift, layer.outputs);
        int first = i ? 0 : first_input, stride = net.by_output ? layer.inputs : layer.outputs;
        const float* weight = layer.weight + (net.by_output ? first : size_t(first) * stride);
        rooms.prepared.weight[i].pack(weight, stride, layer.outputs, layer.inputs - first, !net.by_output);
    }
}

// d_out: (rows, outputs) of this member; `inputs` as in Wanted, but padded.
void backward_member(const Network& net, int member, const Kept& kept, int rows, const float* d_out,
                     const Wanted& wanted, float* inputs) {
    prepare_backward(net, member, wanted.inputs ? wanted.first : net.widths[0]);
    const float* zeros = filled(rooms.zeros, widest(net), 0.0f);
    int last = net.layers - 1, outputs = net.widths[last + 1];
    float* buffers[2];
    for (int i = 0; i < 2; i++) buffers[i] = rooms.buffers[i].get(size_t(kBlock) * stride_of(widest(net)));
    for (int first = 0; first < rows; first += kBlock) {
        int count = std::min(kBlock, rows - first), height = round_up(count, kHeight);
        for (int r = 0; r < count; r++)
            std::memcpy(buffers[last % 2] + r * stride_of(outputs), d_out + size_t(first + r) * outputs,
                        outputs * sizeof(float));
        for (int i = last; i >= 0; i--) {
            Layer layer = layer_of(net, net.parameters, member, i), gradient = {};
            if (wanted.parameters) gradient = layer_of(net, wanted.parameters, member, i);
            const Layer* into = wanted.parameters ? &gradient : nullptr;
            float* d = buffers[i % 2];
            if (i < last) backward_hidden(layer, kept, member, i, first, count, d, into, first > 0);
            if (into)
                weight_gradient(net, layer, input_of(net, kept, member, i, first, count), d, count, gradient, first > 0);
            if (i) rooms.prepared.weight[i].multiply(d, height, zeros, 0, buffers[(i + 1) % 2]);
        }
        if (!wanted.inputs) continue;
        int stride = stride_of(net.widths[0] - wanted.first);
        float* to = inputs + size_t(first) * stride;
        rooms.prepared.weight[0].multiply(buffers[0], height, member ? to : zeros, member ? stride : 0, to);
    }
}

}  // namespace

extern "C" {

// Floats that a forward pass keeps.
int64_t mlp_kept_size(const Network* net, int members, int rows) { return Kept(*net, rows, nullptr).size(members); }

// out: (members, rows, outputs) of the `chosen` members, or of the first ones where that is null. kept: of
// mlp_kept_size, or null where no backward pass will follow.
void mlp_forward(const Network* net, const Input* input, const int64_t* chosen, int members, float* kept,
                 float* out) {
    size_t size = size_t(input->rows) * net->widths[net->layers];
    float* data = kept;
    if (!kept) data = rooms.x.get(size_t(round_up(input->rows, kHeight)) * stride_of(net->widths[0]));
    Kept places(*net, input->rows, data);
    write_x(*input, data);
    for (int i = 0; i < members; i++)
        forward_member(*net, chosen ? chosen[i] : i, i, places, kept != nullptr, input->rows, out + i * size);
}

// d_out: (members, rows, outputs), of all members in order.
void mlp_backward(const Network* net, int members, int rows, float* kept, const float* d_out, const Wanted* wanted) {
    Kept places(*net, rows, kept);
    int width = net->widths[0] - wanted->first;
    float* inputs = rooms.inputs.get(size_t(round_up(rows, kHeight)) * stride_of(width));
    size_t size = size_t(rows) * net->widths[net->layers];
    for (int i = 0; i < members; i++) backward_member(*net, i, places, rows, d_out + i * size, *wanted, inputs);
    if (!wanted->inputs) return;
    for (int r = 0; r < rows; r++)
        std::memcpy(wanted->inputs + size_t(r) * width, inputs + size_t(r) * stride_of(width), width * sizeof(float));
}

}  // extern "C"
