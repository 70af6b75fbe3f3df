// Bindings of multi-coil imaging: packing, the normal operator, whole solves under a line mask.
#include "subkern/sense_normal.h"

#include "bindings.h"
#include "checks.h"
#include "sense_checks.h"

namespace subkern {
namespace {

Counter sense_normal_calls("sense_normal"), sense_pack_calls("sense_pack"),
    sense_solve_calls("sense_solve");

SenseShape sense_shape(const Check& check, bool line, std::int64_t images, std::int64_t map_sets,
                       std::int64_t weight_sets, std::int64_t coils, std::int64_t h,
                       std::int64_t w) {
  check_sense_sizes(check, line, images, map_sets, weight_sets, coils, h, w);
  return {line, images, map_sets, weight_sets, coils, h, w};
}

std::int64_t pack_floats(bool line, std::int64_t map_sets, std::int64_t weight_sets,
                         std::int64_t coils, std::int64_t h, std::int64_t w) {
  return sense_pack_floats(
      sense_shape(Check("sense_pack"), line, 1, map_sets, weight_sets, coils, h, w));
}

void sense_pack(bool line, std::int64_t map_sets, std::int64_t weight_sets, std::int64_t coils,
                std::int64_t h, std::int64_t w, Address maps, Address weights, Address packed,
                std::int64_t packed_floats, int threads) {
  const Check check("sense_pack");
  const SenseShape shape = sense_shape(check, line, 1, map_sets, weight_sets, coils, h, w);
  check.threads(threads);
  check.pointer("maps", maps, h > 0);
  check.pointer("weights", weights, true);
  check_sense_packed(check, packed, packed_floats, sense_pack_floats(shape));
  {
    py::gil_scoped_release release;
    sk_sense_pack(shape, as<const float>(maps), as<const float>(weights), as<float>(packed),
                  threads);
  }
  ++sense_pack_calls;
}

std::int64_t workspace_bytes(bool line, std::int64_t images, std::int64_t coils, std::int64_t h,
                             std::int64_t w, int threads) {
  const Check check("sense_normal");
  check.threads(threads);
  return sense_workspace(sense_shape(check, line, images, 1, 1, coils, h, w), threads);
}

void check_sense_memory(const Check& check, const SenseShape& shape, Address packed,
                        std::int64_t packed_floats, Address workspace, std::int64_t workspace_bytes,
                        int threads) {
  check.threads(threads);
  check_sense_packed(check, packed, packed_floats, sense_pack_floats(shape));
  check.workspace(workspace, workspace_bytes, sense_workspace(shape, threads));
}

void sense_normal(bool line, std::int64_t images, std::int64_t map_sets, std::int64_t weight_sets,
                  std::int64_t coils, std::int64_t h, std::int64_t w, Address v, Address gamma,
                  Address packed, std::int64_t packed_floats, Address out, Address dot,
                  Address workspace, std::int64_t workspace_bytes, int threads) {
  const Check check("sense_normal");
  const SenseShape shape = sense_shape(check, line, images, map_sets, weight_sets, coils, h, w);
  const bool any = images > 0 && h > 0;
  check.pointer("v", v, any);
  check.pointer("out", out, any);
  check.pointer("dot", dot, any);
  check_sense_memory(check, shape, packed, packed_floats, workspace, workspace_bytes, threads);
  const SenseNormal call{
      shape,          as<const float>(v), as<const float>(gamma), as<const float>(packed),
      as<float>(out), as<double>(dot),    as<void>(workspace)};
  {
    py::gil_scoped_release release;
    sk_sense_normal(call, threads);
  }
  ++sense_normal_calls;
}

void sense_solve(std::int64_t images, std::int64_t map_sets, std::int64_t weight_sets,
                 std::int64_t coils, std::int64_t h, std::int64_t w, Address rhs, Address start,
                 Address gamma, Address packed, std::int64_t packed_floats, bool prox,
                 std::int64_t maxiter, Address x, Address rr, Address iterations, Address status,
                 Address workspace, std::int64_t workspace_bytes, int threads) {
  const Check check("sense_solve");
  const SenseShape shape = sense_shape(check, true, images, map_sets, weight_sets, coils, h, w);
  const bool any = images > 0 && h > 0;
  check.size("maxiter", maxiter);
  check.pointer("start", start, any && prox);
  check.pointer("gamma", gamma, any && prox);
  const std::pair<const char*, Address> buffers[] = {
      {"rhs", rhs}, {"x", x}, {"rr", rr}, {"iterations", iterations}, {"status", status}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, any);
  check_sense_memory(check, shape, packed, packed_floats, workspace, workspace_bytes, threads);
  const SenseSolve call{shape,
                        as<const float>(rhs),
                        as<const float>(start),
                        as<const float>(gamma),
                        as<const float>(packed),
                        prox,
                        maxiter,
                        as<float>(x),
                        as<double>(rr),
                        as<std::int32_t>(iterations),
                        as<std::int32_t>(status),
                        as<void>(workspace)};
  {
    py::gil_scoped_release release;
    sk_sense_solve(call, threads);
  }
  ++sense_solve_calls;
}

}  // namespace

void bind_sense_normal(py::module_& m) {
  using py::arg;
  m.def("sense_pack_floats", &pack_floats, py::kw_only(), arg("line"), arg("map_sets"),
        arg("weight_sets"), arg("coils"), arg("h"), arg("w"), "Floats of what sense_pack writes.");
  m.def("sense_pack", &sense_pack, py::kw_only(), arg("line"), arg("map_sets"), arg("weight_sets"),
        arg("coils"), arg("h"), arg("w"), arg("maps"), arg("weights"), arg("packed"),
        arg("packed_floats"), arg("threads"), "Maps and weights in the order of the kernels.");
  m.def("sense_workspace", &workspace_bytes, py::kw_only(), arg("line"), arg("images"),
        arg("coils"), arg("h"), arg("w"), arg("threads"),
        "Bytes of scratch that sense_normal and sense_solve need.");
  m.def("sense_normal", &sense_normal, py::kw_only(), arg("line"), arg("images"), arg("map_sets"),
        arg("weight_sets"), arg("coils"), arg("h"), arg("w"), arg("v"), arg("gamma"), arg("packed"),
        arg("packed_floats"), arg("out"), arg("dot"), arg("workspace"), arg("workspace_bytes"),
        arg("threads"), "H v and <v, H v>; gamma is 0 for H = N.");
  m.def("sense_solve", &sense_solve, py::kw_only(), arg("images"), arg("map_sets"),
        arg("weight_sets"), arg("coils"), arg("h"), arg("w"), arg("rhs"), arg("start"),
        arg("gamma"), arg("packed"), arg("packed_floats"), arg("prox"), arg("maxiter"), arg("x"),
        arg("rr"), arg("iterations"), arg("status"), arg("workspace"), arg("workspace_bytes"),
        arg("threads"), "Conjugate gradients on every row, under a line mask.");
}

}  // namespace subkern
