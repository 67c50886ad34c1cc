#include "worker/model/cuda/stream.h"

#include <c10/cuda/CUDAStream.h>

namespace bert::model::cuda {

cudaStream_t CurrentStream() { return c10::cuda::getCurrentCUDAStream().stream(); }

}  // namespace bert::model::cuda
