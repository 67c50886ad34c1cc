#include "worker/model/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::model {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and so is this code");

// The format's own bound.
constexpr uint64_t kHeaderBytesMax = 100'000'000;
constexpr size_t kLengthBytes = 8;
constexpr int64_t kDimensionsMax = 16;

struct DtypeName {
  const char* name;
  at::ScalarType dtype;
};
constexpr DtypeName kDtypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}, {"I64", at::kLong},
    {"I32", at::kInt},    {"I16", at::kShort}, {"I8", at::kChar},  {"U8", at::kByte},       {"BOOL", at::kBool}};

std::optional<at::ScalarType> DtypeOf(const std::string& name) {
  for (const DtypeName& known : kDtypes) {
    if (name == known.name) return known.dtype;
  }
  return std::nullopt;
}

const char* NameOf(at::ScalarType dtype) {
  for (const DtypeName& known : kDtypes) {
    if (dtype == known.dtype) return known.name;
  }
  return nullptr;
}

// A whole number in [0, 2^62], or nothing.
std::optional<int64_t> Natural(const nlohmann::json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const uint64_t number = value.get<uint64_t>();
  if (number > uint64_t{1} << 62) return std::nullopt;
  return static_cast<int64_t>(number);
}

// Bytes of a tensor, or nothing where they do not fit into 63 bits.
std::optional<int64_t> BytesOf(at::ScalarType dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(dtype));
  for (const int64_t dimension : shape) {
    if (__builtin_mul_overflow(bytes, dimension, &bytes)) return std::nullopt;
  }
  return bytes;
}

// What is wrong with one tensor's entry is returned in words; empty where nothing is.
std::string ParseEntry(const nlohmann::json& value, SafetensorsFile::Entry& entry) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    return "its entry does not consist of dtype, shape and data_offsets";
  }
  const nlohmann::json& dtype = value["dtype"];
  const nlohmann::json& shape = value["shape"];
  const nlohmann::json& offsets = value["data_offsets"];
  const std::optional<at::ScalarType> known = dtype.is_string() ? DtypeOf(dtype.get<std::string>()) : std::nullopt;
  if (!known) return absl::StrCat("unknown dtype ", dtype.dump());
  entry.dtype = *known;
  if (!shape.is_array() || shape.size() > kDimensionsMax) return absl::StrCat("bad shape ", shape.dump());
  for (const nlohmann::json& dimension : shape) {
    const std::optional<int64_t> size = Natural(dimension);
    if (!size) return absl::StrCat("bad shape ", shape.dump());
    entry.shape.push_back(*size);
  }
  const bool pair = offsets.is_array() && offsets.size() == 2;
  const std::optional<int64_t> begin = pair ? Natural(offsets[0]) : std::nullopt;
  const std::optional<int64_t> end = pair ? Natural(offsets[1]) : std::nullopt;
  if (!begin || !end || *begin > *end) return absl::StrCat("bad data_offsets ", offsets.dump());
  entry.begin = *begin;
  entry.end = *end;
  const std::optional<int64_t> bytes = BytesOf(entry.dtype, entry.shape);
  if (!bytes || *bytes != entry.end - entry.begin) {
    return absl::StrCat("shape ", shape.dump(), " of ", dtype.get<std::string>(), " does not take ",
                        entry.end - entry.begin, " bytes");
  }
  return "";
}

// nlohmann::json keeps the last of two equal keys; this finds them at the top level.
class DuplicateKeyFinder {
 public:
  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    if (event == nlohmann::json::parse_event_t::key && depth == 1 && !names_.insert(parsed.get<std::string>()).second) {
      duplicate_ = parsed.get<std::string>();
    }
    return true;
  }
  const std::optional<std::string>& duplicate() const { return duplicate_; }

 private:
  std::set<std::string> names_;
  std::optional<std::string> duplicate_;
};

absl::Status WriteAll(int file, const char* bytes, size_t size, const std::string& path) {
  while (size > 0) {
    const ssize_t written = ::write(file, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(errno, absl::StrCat("cannot write ", path));
    bytes += written;
    size -= static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  SafetensorsFile file(path, std::move(mapped));
  if (const absl::Status status = file.ParseHeader(); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
  }
  return file;
}

absl::Status SafetensorsFile::ParseHeader() {
  const std::string_view bytes = file_.bytes();
  if (bytes.size() < kLengthBytes) {
    return absl::DataLossError(absl::StrCat("not a safetensors file: ", bytes.size(), " bytes"));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  if (header_bytes > kHeaderBytesMax || header_bytes > bytes.size() - kLengthBytes) {
    return absl::DataLossError(
        absl::StrCat("not a whole safetensors file: a header of ", header_bytes, " bytes in a file of ", bytes.size()));
  }
  const std::string_view header = bytes.substr(kLengthBytes, header_bytes);
  data_begin_ = kLengthBytes + header_bytes;
  DuplicateKeyFinder duplicates;
  const nlohmann::json json = nlohmann::json::parse(header, std::ref(duplicates), /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("the header is not a JSON object");
  if (duplicates.duplicate()) {
    return absl::DataLossError(absl::StrCat("the header names '", *duplicates.duplicate(), "' twice"));
  }

  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return absl::DataLossError("__metadata__ is not an object");
      for (const auto& [key, text] : value.items()) {
        if (!text.is_string()) return absl::DataLossError(absl::StrCat("__metadata__.", key, " is not a string"));
        metadata_[key] = text.get<std::string>();
      }
      continue;
    }
    Entry entry{.dtype = at::kFloat, .shape = {}, .begin = 0, .end = 0};
    if (const std::string error = ParseEntry(value, entry); !error.empty()) {
      return absl::DataLossError(absl::StrCat("tensor '", name, "': ", error));
    }
    entries_.emplace(name, std::move(entry));
  }

  std::vector<std::pair<int64_t, const std::pair<const std::string, Entry>*>> by_begin;
  for (const auto& item : entries_) by_begin.emplace_back(item.second.begin, &item);
  std::sort(by_begin.begin(), by_begin.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->second.begin, a.second->second.end) <
           std::pair(b.second->second.begin, b.second->second.end);
  });
  int64_t expected = 0;
  for (const auto& [begin, item] : by_begin) {
    if (begin != expected) {
      return absl::DataLossError(absl::StrCat("tensor '", item->first, "' begins at byte ", begin,
                                              " of the data, not at ", expected, ", where the one before it ends"));
    }
    expected = item->second.end;
  }
  const size_t data_bytes = bytes.size() - data_begin_;
  if (static_cast<uint64_t>(expected) != data_bytes) {
    return absl::DataLossError(
        absl::StrCat("the header names ", expected, " bytes of data, the file has ", data_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> SafetensorsFile::Borrow(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return absl::NotFoundError(absl::StrCat(path_, " has no tensor '", name, "'"));
  const Entry& entry = found->second;
  const char* data = file_.bytes().data() + data_begin_ + entry.begin;
  return at::from_blob(const_cast<char*>(data), entry.shape, at::TensorOptions().dtype(entry.dtype));
}

absl::StatusOr<at::Tensor> SafetensorsFile::Read(const std::string& name) const {
  ASSIGN_OR_RETURN(const at::Tensor borrowed, Borrow(name));
  at::Tensor copy = at::empty(borrowed.sizes(), borrowed.options());
  // By bytes: the data need not be aligned for its dtype.
  std::memcpy(copy.data_ptr(), borrowed.data_ptr(), borrowed.nbytes());
  return copy;
}

absl::Status SafetensorsFile::ReadInto(const std::string& name, at::Tensor target) const {
  ASSIGN_OR_RETURN(const at::Tensor values, Read(name));
  if (values.sizes() != target.sizes()) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor '", name, "' has shape [",
                                                   absl::StrJoin(values.sizes(), ", "), "], the model takes [",
                                                   absl::StrJoin(target.sizes(), ", "), "]"));
  }
  target.copy_(values);
  return absl::OkStatus();
}

absl::Status WriteSafetensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  header["__metadata__"]["format"] = "pt";
  for (const auto& [key, value] : metadata) header["__metadata__"][key] = value;
  int64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const char* dtype = NameOf(tensor.scalar_type());
    if (dtype == nullptr || header.contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": tensor '", name, "' ", dtype == nullptr ? "has a dtype the format lacks" : "comes twice"));
    }
    const int64_t bytes = static_cast<int64_t>(tensor.nbytes());
    header[name] = {{"dtype", dtype}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  // Readers map the file: the data starts at a multiple of 8.
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  const uint64_t length = text.size();
  std::string head(reinterpret_cast<const char*>(&length), kLengthBytes);
  head += text;

  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return SystemError(errno, absl::StrCat("cannot create ", path));
  absl::Cleanup close_on_error = [file] { ::close(file); };
  RETURN_IF_ERROR(WriteAll(file, head.data(), head.size(), path));
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor host = tensor.to(at::kCPU).contiguous();
    RETURN_IF_ERROR(WriteAll(file, static_cast<const char*>(host.const_data_ptr()), host.nbytes(), path));
  }
  if (::fsync(file) != 0) return SystemError(errno, absl::StrCat("cannot sync ", path));
  std::move(close_on_error).Cancel();
  if (::close(file) != 0) return SystemError(errno, absl::StrCat("cannot close ", path));
  return absl::OkStatus();
}

}  // namespace bert::model
