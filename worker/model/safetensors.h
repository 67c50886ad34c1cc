// The safetensors file format: 8 bytes of header length (little-endian), a JSON header, the tensors' bytes.
// https://github.com/huggingface/safetensors
#ifndef BERT_WORKER_MODEL_SAFETENSORS_H_
#define BERT_WORKER_MODEL_SAFETENSORS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mapped_file.h"

namespace bert::model {

// One file, mapped. Movable; thread-safe once open. Open checks everything about the header, so that later reads cannot
// leave the file: every tensor's bytes agree with its dtype and shape, and together they cover the data without gap or
// overlap.
class SafetensorsFile {
 public:
  struct Entry {
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    int64_t begin = 0;  // Bytes from the start of the data.
    int64_t end = 0;
  };

  // NOT_FOUND; DATA_LOSS naming the file, the tensor where there is one, and what is wrong.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  // By name, sorted.
  const std::map<std::string, Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // A copy on the CPU. NOT_FOUND names file and tensor.
  absl::StatusOr<at::Tensor> Read(const std::string& name) const;
  // Copies into `target` (any device; converted to its dtype), which must have the tensor's shape: else
  // INVALID_ARGUMENT.
  absl::Status ReadInto(const std::string& name, at::Tensor target) const;

 private:
  SafetensorsFile(std::string path, MappedFile file) : path_(std::move(path)), file_(std::move(file)) {}

  absl::Status ParseHeader();
  // A tensor over the mapped bytes: read only, and not past this object's life.
  absl::StatusOr<at::Tensor> Borrow(const std::string& name) const;

  std::string path_;
  MappedFile file_;
  size_t data_begin_ = 0;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

// Writes the tensors in this order (names must differ), over what was at `path`, and syncs the file. The header carries
// {"format": "pt"}, which transformers requires, and `metadata`. RESOURCE_EXHAUSTED when the disk is full.
absl::Status WriteSafetensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_SAFETENSORS_H_
