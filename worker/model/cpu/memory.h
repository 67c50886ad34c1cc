// Memory for tensors that live as long as the process, and for those that come and go with every micro-batch.
#ifndef BERT_WORKER_MODEL_CPU_MEMORY_H_
#define BERT_WORKER_MODEL_CPU_MEMORY_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace bert::model::cpu {

// Makes malloc keep what is freed instead of giving it back to the kernel: activations are allocated anew in every
// micro-batch, and a fresh page costs more than most of what is then done with it. The process stays as large as it
// once was. Call it before the first large allocation; does nothing where malloc is not glibc's.
void KeepFreedMemory();

// Zeros [size] on the CPU, on huge pages where the kernel gives them: a pass over gigabytes of parameters then does
// not spend its time on address translation.
at::Tensor LargeZeros(int64_t size, at::ScalarType dtype);

}  // namespace bert::model::cpu

#endif  // BERT_WORKER_MODEL_CPU_MEMORY_H_
