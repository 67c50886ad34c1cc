// The stream on which Torch and the kernels of this folder run. Only in builds with CUDA.
#ifndef BERT_WORKER_MODEL_CUDA_STREAM_H_
#define BERT_WORKER_MODEL_CUDA_STREAM_H_

#include <cuda_runtime_api.h>

namespace bert::model::cuda {

// This thread's current stream on its current device.
cudaStream_t CurrentStream();

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_STREAM_H_
