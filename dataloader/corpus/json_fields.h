// Fields of a JSON value that must be there and have their type.
#ifndef BERT_DATALOADER_CORPUS_JSON_FIELDS_H_
#define BERT_DATALOADER_CORPUS_JSON_FIELDS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace bert::corpus {

// Objects keep their keys sorted, which makes dump() canonical.
using Json = nlohmann::json;

// The first mistake sticks in the status, as DATA_LOSS, and names the field by its path from the root; what is read
// then is zero or empty. Value and status must outlive this. Not thread-safe.
class JsonFields {
 public:
  // `where` is the value's own path, "" for the root; `root` what the root is called, as "the manifest".
  JsonFields(const Json& json, std::string where, std::string root, absl::Status* status);

  bool Has(const char* key) const { return json_.contains(key); }
  std::string String(const char* key) const;
  bool Bool(const char* key) const;
  double Number(const char* key) const;
  // At least 0.
  int64_t Count(const char* key) const;
  std::vector<uint64_t> Counts(const char* key) const;
  JsonFields Object(const char* key) const;
  std::vector<JsonFields> Array(const char* key) const;

  void Fail(absl::string_view key, absl::string_view what) const;

 private:
  std::string Path(absl::string_view key) const;
  const Json* Find(const char* key, bool (Json::*is_type)() const noexcept, const char* type) const;

  const Json& json_;
  std::string where_;
  std::string root_;
  absl::Status* status_;
};

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_JSON_FIELDS_H_
