// The only file that nvcc compiles. No Torch here: it takes nvcc half a minute to read its headers.
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "worker/model/cuda/launcher.h"
#include "worker/model/cuda/launches.h"
#include "worker/model/cuda/stream.h"

namespace bert::model::cuda {
namespace {

struct DeviceThread {
  __device__ int index() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ int64_t block() const { return blockIdx.x; }
  template <typename Value>
  __device__ Value Shuffle(Value value, int mask) const {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }
  __device__ void Sync() const { __syncthreads(); }
  __device__ void* shared() const {
    extern __shared__ Vector memory[];
    return memory;
  }
};

template <typename Kernel>
__global__ void RunOnDevice(const Kernel kernel) {
  DeviceThread thread;
  kernel(thread);
}

struct DeviceRunner {
  static void Multiply(const Product& product) { RunProduct(product); }

  template <typename Kernel>
  static void Run(const Kernel& kernel, const Grid& grid) {
    if (grid.blocks == 0) return;
    RunOnDevice<<<static_cast<unsigned int>(grid.blocks), static_cast<unsigned int>(grid.threads),
                  static_cast<size_t>(grid.shared_bytes), CurrentStream()>>>(kernel);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
      throw std::runtime_error(std::string("a kernel cannot be started: ") + cudaGetErrorString(error));
    }
  }
};

constexpr Launcher kDeviceLauncher = MakeLauncher<DeviceRunner>();

}  // namespace

const Launcher& DeviceLauncher() { return kDeviceLauncher; }

}  // namespace bert::model::cuda
