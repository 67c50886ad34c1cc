# Torch from the wheel that scripts/setup.sh installs, as hand-written imported targets.
#
# torch::cpu links libtorch_cpu and libc10 directly, so that no CUDA library is needed. Never link libgloo:
# libtorch_cpu carries its own gloo, and the two share symbols. Never put these headers on a target that compiles
# protos: they bring an older Protobuf.

if(NOT BERT_TORCH_DIR)
  file(GLOB candidates ${CMAKE_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages/torch)
  list(SUBLIST candidates 0 1 first)
  set(BERT_TORCH_DIR "${first}" CACHE PATH "Folder of the installed torch package" FORCE)
endif()
if(NOT EXISTS ${BERT_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "no Torch in '${BERT_TORCH_DIR}'; run scripts/setup.sh, or set BERT_TORCH_DIR, "
                      "or build without it: -DBERT_TORCH=OFF")
endif()

add_library(torch::cpu INTERFACE IMPORTED)
target_include_directories(torch::cpu SYSTEM INTERFACE ${BERT_TORCH_DIR}/include
                                                       ${BERT_TORCH_DIR}/include/torch/csrc/api/include)
target_compile_definitions(torch::cpu INTERFACE USE_C10D_GLOO USE_DISTRIBUTED)
target_link_options(torch::cpu INTERFACE -Wl,-rpath,${BERT_TORCH_DIR}/lib -Wl,-rpath-link,${BERT_TORCH_DIR}/lib)
target_link_libraries(torch::cpu INTERFACE -Wl,--no-as-needed ${BERT_TORCH_DIR}/lib/libtorch_cpu.so
                                           ${BERT_TORCH_DIR}/lib/libc10.so -Wl,--as-needed)

# The OpenMP runtime that Torch brings, for files compiled with -fopenmp: a second one would be a second pool of
# threads.
add_library(torch::openmp INTERFACE IMPORTED)
target_link_libraries(torch::openmp INTERFACE ${BERT_TORCH_DIR}/lib/libgomp.so.1)

if(BERT_CUDA)
  # Each is code and compile time. Newer devices compile what is for sm_90 when they load it.
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90")
  enable_language(CUDA)
  # Which CMake 3.25 does not know of this nvcc.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  find_package(CUDAToolkit 13.0 REQUIRED)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${BERT_TORCH_DIR}/../nvidia/nccl/include ${CUDAToolkit_INCLUDE_DIRS} REQUIRED)
  find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${BERT_TORCH_DIR}/../nvidia/nccl/lib REQUIRED)
  add_library(torch::nccl INTERFACE IMPORTED)
  target_include_directories(torch::nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
  target_link_libraries(torch::nccl INTERFACE ${NCCL_LIBRARY})
  add_library(torch::cuda INTERFACE IMPORTED)
  target_link_libraries(torch::cuda INTERFACE torch::cpu -Wl,--no-as-needed ${BERT_TORCH_DIR}/lib/libtorch_cuda.so
                                              ${BERT_TORCH_DIR}/lib/libc10_cuda.so -Wl,--as-needed CUDA::cudart)
  target_include_directories(torch::cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
endif()
