// One pass over all parameters of a network, for adam.py.

#include <cmath>
#include <cstdint>

extern "C" {

// Adam (Kingma & Ba 2015, algorithm 1), as torch's without weight decay. step: from 1.
void adam_step(int count, const int64_t* sizes, float* const* parameters, float* const* gradients,
               float* const* first_moments, float* const* second_moments, double rate, double beta1, double beta2,
               double epsilon, int64_t step) {
    float size = rate / (1.0 - std::pow(beta1, step)), root = 1.0 / std::sqrt(1.0 - std::pow(beta2, step));
    float keep1 = beta1, take1 = 1.0 - beta1, keep2 = beta2, take2 = 1.0 - beta2, small = epsilon;
    for (int i = 0; i < count; i++) {
        float *__restrict p = parameters[i], *__restrict m = first_moments[i], *__restrict v = second_moments[i];
        const float* __restrict g = gradients[i];
        for (int64_t j = 0; j < sizes[i]; j++) {
            m[j] = keep1 * m[j] + take1 * g[j];
            v[j] = keep2 * v[j] + take2 * g[j] * g[j];
            p[j] -= size * m[j] / (std::sqrt(v[j]) * root + small);
        }
    }
}

// target += share * (source - target)
void move_towards(int count, const int64_t* sizes, float* const* targets, float* const* sources, float share) {
    for (int i = 0; i < count; i++) {
        float* __restrict target = targets[i];
        const float* __restrict source = sources[i];
        for (int64_t j = 0; j < sizes[i]; j++) target[j] += share * (source[j] - target[j]);
    }
}

}  // extern "C"
