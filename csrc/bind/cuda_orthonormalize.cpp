// Binding of orthonormalize on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/orthonormalize.h"

namespace subkern {
namespace {

LaunchCounter orthonormalize_launches("orthonormalize");
LaunchCounter orthonormalize_split_launches("orthonormalize_split");
LaunchCounter orthonormalize_repair_launches("orthonormalize_repair");
LaunchCounter orthonormalize_cholesky_launches("orthonormalize_cholesky");

CudaMatrices to_matrices(const Check& check, Address Y, int dtype, std::int64_t count,
                         std::int64_t rows, std::int64_t cols, std::int64_t matrix_stride,
                         std::int64_t row_stride, std::int64_t col_stride) {
  check.size("count", count);
  check.elements("rows", rows, "cols", cols);
  if (cols < 1 || cols > rows) {
    check.fail("cols", "be at least 1 and at most rows", std::to_string(cols));
  }
  check.pointer("Y", Y, count > 0);
  return {
      as<const void>(Y), check.dtype("dtype", dtype), count, rows, cols, matrix_stride, row_stride,
      col_stride};
}

std::int64_t orthonormalize_bytes(std::int64_t count, std::int64_t rows, std::int64_t cols,
                                  int device) {
  const Check check("orthonormalize_workspace");
  check.size("count", count);
  check.elements("rows", rows, "cols", cols);
  if (cols < 1 || cols > kCudaOrthonormalizeCols) {
    check.fail("cols", "be from 1 to 64", std::to_string(cols));
  }
  return cuda_orthonormalize_workspace(count, rows, cols, device);
}

void orthonormalize(Address Y, int dtype, std::int64_t count, std::int64_t rows, std::int64_t cols,
                    std::int64_t matrix_stride, std::int64_t row_stride, std::int64_t col_stride,
                    Address Q, Address R, Address info, Address scratch, std::int64_t scratch_bytes,
                    int device, Address stream) {
  const Check check("orthonormalize");
  const CudaMatrices matrices =
      to_matrices(check, Y, dtype, count, rows, cols, matrix_stride, row_stride, col_stride);
  const CudaQueue queue = to_queue(check, device, stream);
  const std::int64_t needed = orthonormalize_bytes(count, rows, cols, device);
  if (scratch_bytes < needed) {
    check.fail("scratch_bytes", "be at least " + std::to_string(needed),
               std::to_string(scratch_bytes));
  }
  const std::pair<const char*, Address> buffers[] = {{"Q", Q}, {"R", R}, {"info", info}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, count > 0);
  check.pointer("scratch", scratch, needed > 0);
  if (scratch % 16 != 0) {
    check.fail("scratch", "be aligned to 16 bytes", std::to_string(scratch));
  }
  const CudaOrthonormalize call{matrices, as<float>(Q), as<float>(R), as<std::int32_t>(info),
                                as<void>(scratch)};
  std::int64_t launches[2] = {0, 0};
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_orthonormalize(call, queue, launches);
  }
  orthonormalize_launches += launches[0];
  orthonormalize_split_launches += launches[1];
  check_status("orthonormalize", status);
}

void repair(Address Y, int dtype, std::int64_t count, std::int64_t rows, std::int64_t cols,
            std::int64_t matrix_stride, std::int64_t row_stride, std::int64_t col_stride, Address Q,
            Address R, Address exponent, Address first, Address column, Address coefficients,
            int device, Address stream) {
  const Check check("orthonormalize_repair");
  const CudaMatrices matrices =
      to_matrices(check, Y, dtype, count, rows, cols, matrix_stride, row_stride, col_stride);
  const std::pair<const char*, Address> buffers[] = {
      {"Q", Q},         {"R", R},           {"exponent", exponent},
      {"first", first}, {"column", column}, {"coefficients", coefficients}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, count > 0);
  const CudaRepair call{matrices,
                        as<float>(Q),
                        as<double>(R),
                        cols * cols,
                        cols,
                        as<const std::int32_t>(exponent),
                        as<const std::int32_t>(first),
                        cols,
                        1,
                        as<float>(column),
                        as<double>(coefficients)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_orthonormalize_repair(call, queue, &launches);
  }
  orthonormalize_repair_launches += launches;
  check_status("orthonormalize_repair", status);
}

void cholesky(Address G, Address wanted, double threshold, std::int64_t count, std::int64_t cols,
              Address R, Address good, int device, Address stream) {
  const Check check("orthonormalize_cholesky");
  check.size("count", count);
  check.elements("cols", cols, "cols", cols);
  const std::pair<const char*, Address> buffers[] = {
      {"G", G}, {"wanted", wanted}, {"R", R}, {"good", good}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, count > 0 && cols > 0);
  const CudaCholesky call{
      as<const double>(G), as<const std::int32_t>(wanted), threshold, count, cols,
      as<double>(R),       as<unsigned char>(good)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_orthonormalize_cholesky(call, queue, &launches);
  }
  orthonormalize_cholesky_launches += launches;
  check_status("orthonormalize_cholesky", status);
}

}  // namespace

void bind_cuda_orthonormalize(py::module_& m) {
  using py::arg;
  m.def("orthonormalize_workspace", &orthonormalize_bytes, py::kw_only(), arg("count"), arg("rows"),
        arg("cols"), arg("device"), "Bytes of scratch that orthonormalize needs.");
  m.def("orthonormalize", &orthonormalize, py::kw_only(), arg("Y"), arg("dtype"), arg("count"),
        arg("rows"), arg("cols"), arg("matrix_stride"), arg("row_stride"), arg("col_stride"),
        arg("Q"), arg("R"), arg("info"), arg("scratch"), arg("scratch_bytes"), arg("device"),
        arg("stream"), "Orthonormal columns of matrices of up to 64 columns.");
  m.def("orthonormalize_repair", &repair, py::kw_only(), arg("Y"), arg("dtype"), arg("count"),
        arg("rows"), arg("cols"), arg("matrix_stride"), arg("row_stride"), arg("col_stride"),
        arg("Q"), arg("R"), arg("exponent"), arg("first"), arg("column"), arg("coefficients"),
        arg("device"), arg("stream"), "Columns from `first` on, made one after the other.");
  m.def("orthonormalize_cholesky", &cholesky, py::kw_only(), arg("G"), arg("wanted"),
        arg("threshold"), arg("count"), arg("cols"), arg("R"), arg("good"), arg("device"),
        arg("stream"), "Factors of Gram matrices where `wanted`; failed pivots clear `good`.");
}

}  // namespace subkern
