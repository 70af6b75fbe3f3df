// A program for sanitizer builds: runs the mistake named on the command line, then a good launch.
#include <cstdio>
#include <thread>
#include <vector>

#include "probe.h"

namespace {

template <int kThreads>
__global__ void sum(const float* x, float* out, int extra) {
  SK_SHARED(float, part, kThreads / 32);
  SK_DYNAMIC_SHARED(float, copy);
  copy[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  float total = copy[kThreads - 1 - threadIdx.x];
  for (int apart = 16; apart > 0; apart /= 2) total += __shfl_xor_sync(~0u, total, apart);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = total;
  __syncthreads();
  if (threadIdx.x == 0) {
    total = 0.0f;
    for (int i = 0; i < kThreads / 32; ++i) total += part[i];
  }
  if (threadIdx.x < 4u + extra) out[threadIdx.x] = threadIdx.x == 0 ? total : 0.0f;
}

__global__ void past_heap_load(const float* x, float* out, int) {
  if (threadIdx.x == 100) out[1] = x[128];
}

__global__ void past_static(const float*, float*, int index) {
  SK_SHARED(float, part, 4);
  float* volatile hidden = part;
  if (threadIdx.x == 0) hidden[index] = 1.0f;
}

__global__ void past_dynamic(const float*, float* out, int index) {
  SK_DYNAMIC_SHARED(float, copy);
  if (threadIdx.x == 127) out[0] = copy[index];
}

__global__ void index_of_array(const float*, float*, int index) {
  SK_SHARED(float, part, 4);
  SK_SHARED(float, next, 4);
  if (threadIdx.x == 0) part[index] = next[0] = 1.0f;
}

__global__ void misaligned(const float* x, float* out, int) {
  if (threadIdx.x == 0) out[0] = reinterpret_cast<const float4*>(x + 1)->x;
}

__global__ void diverge(const float*, float*, int) {
  if (threadIdx.x % 2 == 0) __syncthreads();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mistake = argc > 1 ? argv[1] : "none";
  std::vector<float> x(128, 1.0f), out(4, 0.0f);
  const auto run = [&](void (*kernel)(const float*, float*, int), int extra) {
    const char* error =
        error_of([&] { SK_LAUNCH(kernel, 2, 128, 512, nullptr, x.data(), out.data(), extra); });
    if (error != nullptr) std::puts(error);
    return error == nullptr;
  };
  bool fine = true;
  if (mistake == "heap store") fine = run(sum<128>, 1);
  if (mistake == "heap load") fine = run(past_heap_load, 0);
  if (mistake == "static shared") fine = run(past_static, 5);
  if (mistake == "dynamic shared") fine = run(past_dynamic, 128);
  if (mistake == "index") fine = run(index_of_array, 4);
  if (mistake == "alignment") fine = run(misaligned, 0);
  if (mistake == "divergence") {
    for (int i = 0; i < 2; ++i) fine = run(diverge, 0);
    std::thread([&] { run(diverge, 0); }).join();  // whose stack is another one
  }
  for (int seed = 0; seed < 5; ++seed) {
    sk_emu_set_seed(uint64_t(seed));
    if (!run(sum<128>, 0) || out[0] != 128.0f) return 3;
  }
  std::puts("done");
  return fine ? 0 : 2;
}
