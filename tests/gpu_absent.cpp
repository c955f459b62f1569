// The driver of a GPU that isn't there, as far as it is asked from outside of Python (see gpu_absent.py).
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <cstdlib>

// torch's operators may be called on tensors of a GPU that have no memory: there is no device to switch to.
C10_REGISTER_GUARD_IMPL(CUDA, c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA>);

// The newest CUDA that the driver runs, as 13000 for 13.0; without one, it fails.
extern "C" int cuDriverGetVersion(int* version) {
    const char* told = std::getenv("ABSENT_CUDA_DRIVER");
    if (told == nullptr) return 999;
    *version = std::atoi(told);
    return 0;
}
