// subkern._C: addresses, sizes and strides in, kernels out. Knows no tensor library.
#include "../cpu/isa.h"
#include "bindings.h"

namespace subkern {
namespace {

py::dict isa_info() {
  py::list compiled, supported;
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    if (isa_compiled(isa)) compiled.append(isa_name(isa));
    if (isa_supported(isa)) supported.append(isa_name(isa));
  }
  py::dict info;
  info["active"] = isa_name(active_isa());
  info["compiled"] = compiled;
  info["supported"] = supported;
  return info;
}

}  // namespace
}  // namespace subkern

PYBIND11_MODULE(_C, m) {
  m.doc() = "CPU kernels of subkern. Addresses are unsigned integers; 0 means none.";
  m.def("isa_info", &subkern::isa_info,
        "Instruction sets: the active one, those compiled, those this machine supports.");
  m.def("call_counts", &subkern::Counter::counts, "Completed calls per entry point.");
  subkern::bind_adam(m);
  subkern::bind_cg_step(m);
  subkern::bind_combine(m);
  subkern::bind_eigh_small(m);
  subkern::bind_gram(m);
  subkern::bind_group_dot(m);
  subkern::bind_kth_largest(m);
  subkern::bind_lowrank_adam(m);
  subkern::bind_orthonormalize(m);
  subkern::bind_packed_adamw(m);
  subkern::bind_plans(m);
  subkern::bind_sample_without_replacement(m);
  subkern::bind_scan(m);
  subkern::bind_sense_normal(m);
  subkern::bind_sst_adamw(m);
  subkern::bind_svd_small(m);
  subkern::bind_update_mask(m);
}
