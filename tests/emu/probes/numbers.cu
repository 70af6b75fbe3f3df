// Conversions and intrinsics, on arrays.
#include <cstdint>

#include "probe.h"

namespace {

template <class From, class To, To (*convert)(From)>
__global__ void convert_all(const From* x, To* out, int count) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) out[i] = convert(__ldg(x + i));
}

uint16_t to_bf16(float x) { return __bfloat16_as_ushort(__float2bfloat16_rn(x)); }
float from_bf16(uint16_t bits) { return __bfloat162float(__ushort_as_bfloat16(bits)); }

__global__ void intrinsics(const float* x, float* out, int count) {
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) {
    const float value = x[i];
    float* row = out + 8 * i;
    row[0] = rsqrtf(value);
    row[1] = fmaf(value, value, -1.0f);
    row[2] = expm1f(-value);
    row[3] = __fdividef(1.0f, value);
    row[4] = __uint_as_float(__float_as_uint(value) ^ 0x80000000u);
    row[5] = float(__popc(__float_as_uint(value)));
    row[6] = float(__clz(__float_as_int(value)));
    row[7] = fmaxf(value, 1.0f) + max(int(value), 2) + min(value, 3.0f);
  }
}

}  // namespace

PROBE const char* probe_to_bf16(const float* x, uint16_t* out, int count) {
  const int blocks = (count + 255) / 256;
  return error_of([=] {
    SK_LAUNCH((convert_all<float, uint16_t, to_bf16>), blocks, 256, 0, nullptr, x, out, count);
  });
}

PROBE const char* probe_from_bf16(const uint16_t* x, float* out, int count) {
  const int blocks = (count + 255) / 256;
  return error_of([=] {
    SK_LAUNCH((convert_all<uint16_t, float, from_bf16>), blocks, 256, 0, nullptr, x, out, count);
  });
}

PROBE const char* probe_intrinsics(const float* x, float* out, int count) {
  return error_of([=] { SK_LAUNCH(intrinsics, 1, 32, 0, nullptr, x, out, count); });
}
