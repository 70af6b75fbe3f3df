// Bindings of multi-coil imaging on a CUDA device.
#include "cuda_bindings.h"
#include "sense_checks.h"
#include "subkern/cuda/sense_normal.h"

namespace subkern {
namespace {

LaunchCounter sense_normal_launches("sense_normal"), sense_solve_launches("sense_solve");

CudaSenseMaps cuda_maps(const Check& check, bool line, std::int64_t images, std::int64_t map_sets,
                        std::int64_t weight_sets, std::int64_t coils, std::int64_t h,
                        std::int64_t w, Address maps, Address packed, std::int64_t packed_floats) {
  check_sense_sizes(check, line, images, map_sets, weight_sets, coils, h, w);
  if (images * h >> 31 != 0)
    check.fail("images", "have less than 2^31 rows", std::to_string(images));
  check.pointer("maps", maps, h > 0);
  check_sense_packed(check, packed, packed_floats, cuda_sense_pack_floats(line, weight_sets, h, w));
  return {line,
          images,
          map_sets,
          weight_sets,
          coils,
          h,
          w,
          as<const void>(maps),
          as<const float>(packed)};
}

std::int64_t cuda_pack_floats(bool line, std::int64_t weight_sets, std::int64_t h, std::int64_t w) {
  check_sense_sizes(Check("sense_pack"), line, 1, 1, weight_sets, 1, h, w);
  return cuda_sense_pack_floats(line, weight_sets, h, w);
}

void cuda_pack(bool line, std::int64_t weight_sets, std::int64_t h, std::int64_t w, Address weights,
               Address packed, std::int64_t packed_floats) {
  const Check check("sense_pack");
  check_sense_sizes(check, line, 1, 1, weight_sets, 1, h, w);
  check.pointer("weights", weights, true);
  check_sense_packed(check, packed, packed_floats, cuda_sense_pack_floats(line, weight_sets, h, w));
  cuda_sense_pack(line, weight_sets, h, w, as<const float>(weights), as<float>(packed));
}

std::int64_t cuda_workspace(bool line, std::int64_t images, std::int64_t coils, std::int64_t h,
                            std::int64_t w) {
  check_sense_sizes(Check("sense_normal"), line, images, 1, 1, coils, h, w);
  return cuda_sense_workspace({line, images, 1, 1, coils, h, w, nullptr, nullptr});
}

void cuda_normal(bool line, std::int64_t images, std::int64_t map_sets, std::int64_t weight_sets,
                 std::int64_t coils, std::int64_t h, std::int64_t w, Address maps, Address packed,
                 std::int64_t packed_floats, Address v, Address gamma, Address out, Address dot,
                 Address workspace, std::int64_t workspace_bytes, int device, Address stream) {
  const Check check("sense_normal");
  const CudaSenseMaps S = cuda_maps(check, line, images, map_sets, weight_sets, coils, h, w, maps,
                                    packed, packed_floats);
  const bool any = images > 0 && h > 0;
  const std::pair<const char*, Address> buffers[] = {{"v", v}, {"out", out}, {"dot", dot}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, any);
  check.workspace(workspace, workspace_bytes, cuda_sense_workspace(S));
  const CudaSenseNormal call{S,
                             as<const void>(v),
                             as<const float>(gamma),
                             as<void>(out),
                             as<double>(dot),
                             as<void>(workspace)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_sense_normal(call, queue, &launches);
  }
  sense_normal_launches += launches;
  check_status("sense_normal", status);
}

void cuda_solve(std::int64_t images, std::int64_t map_sets, std::int64_t weight_sets,
                std::int64_t coils, std::int64_t h, std::int64_t w, Address maps, Address packed,
                std::int64_t packed_floats, Address rhs, Address start, Address gamma, bool prox,
                std::int64_t maxiter, Address x, Address rr, Address iterations, Address status,
                int device, Address stream) {
  const Check check("sense_solve");
  const CudaSenseMaps S = cuda_maps(check, true, images, map_sets, weight_sets, coils, h, w, maps,
                                    packed, packed_floats);
  const bool any = images > 0 && h > 0;
  check.size("maxiter", maxiter);
  check.pointer("start", start, any && prox);
  check.pointer("gamma", gamma, any && prox);
  const std::pair<const char*, Address> buffers[] = {
      {"rhs", rhs}, {"x", x}, {"rr", rr}, {"iterations", iterations}, {"status", status}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, any);
  const CudaSenseSolve call{S,
                            as<const void>(rhs),
                            as<const void>(start),
                            as<const float>(gamma),
                            prox,
                            maxiter,
                            as<void>(x),
                            as<double>(rr),
                            as<std::int32_t>(iterations),
                            as<std::int32_t>(status)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int code = 0;
  {
    py::gil_scoped_release release;
    code = cuda_sense_solve(call, queue, &launches);
  }
  sense_solve_launches += launches;
  check_status("sense_solve", code);
}

}  // namespace

void bind_cuda_sense_normal(py::module_& m) {
  using py::arg;
  m.def("sense_pack_floats", &cuda_pack_floats, py::kw_only(), arg("line"), arg("weight_sets"),
        arg("h"), arg("w"), "Floats of what sense_pack writes.");
  m.def("sense_pack", &cuda_pack, py::kw_only(), arg("line"), arg("weight_sets"), arg("h"),
        arg("w"), arg("weights"), arg("packed"), arg("packed_floats"),
        "Tables and weights as the kernels read them; both in the memory of the host.");
  m.def("sense_workspace", &cuda_workspace, py::kw_only(), arg("line"), arg("images"), arg("coils"),
        arg("h"), arg("w"), "Bytes of scratch that sense_normal needs.");
  m.def("sense_normal", &cuda_normal, py::kw_only(), arg("line"), arg("images"), arg("map_sets"),
        arg("weight_sets"), arg("coils"), arg("h"), arg("w"), arg("maps"), arg("packed"),
        arg("packed_floats"), arg("v"), arg("gamma"), arg("out"), arg("dot"), arg("workspace"),
        arg("workspace_bytes"), arg("device"), arg("stream"),
        "H v and <v, H v> of each row; gamma is 0 for H = N.");
  m.def("sense_solve", &cuda_solve, py::kw_only(), arg("images"), arg("map_sets"),
        arg("weight_sets"), arg("coils"), arg("h"), arg("w"), arg("maps"), arg("packed"),
        arg("packed_floats"), arg("rhs"), arg("start"), arg("gamma"), arg("prox"), arg("maxiter"),
        arg("x"), arg("rr"), arg("iterations"), arg("status"), arg("device"), arg("stream"),
        "Conjugate gradients on every row, under a line mask.");
}

}  // namespace subkern
