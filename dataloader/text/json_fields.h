// Reads a JSON file field by field, so that what is wrong is told with its place.
#ifndef BERT_DATALOADER_TEXT_JSON_FIELDS_H_
#define BERT_DATALOADER_TEXT_JSON_FIELDS_H_

#include <cstddef>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace bert::text {

// One object of the file. The first mistake sticks in the status that all objects of a file share, and names the field
// by its path from the root: "model.vocab: is missing". Getters give an empty value then, so that reading can go on.
// Neither the JSON nor the status is owned.
class JsonFields {
 public:
  // INVALID_ARGUMENT in `*status`: not an object.
  JsonFields(const nlohmann::json& json, std::string path, absl::Status* status);

  // `fallback` where the field is missing; without one it must be there.
  bool Bool(const char* key, std::optional<bool> fallback = std::nullopt) const;
  std::string String(const char* key, std::optional<std::string> fallback = std::nullopt) const;
  // nullopt where the field is null or missing.
  std::optional<bool> OptionalBool(const char* key) const;
  std::optional<std::string> OptionalString(const char* key) const;
  size_t Count(const char* key, std::optional<size_t> fallback = std::nullopt) const;
  // The object in the field; an empty one after a mistake.
  JsonFields Object(const char* key) const;
  std::vector<JsonFields> Objects(const char* key) const;
  // Null where the field is null or missing.
  const nlohmann::json* Find(const char* key) const;

  // A mistake where there is a field that is not among `known`: it could mean something.
  void AllowOnly(std::initializer_list<std::string_view> known) const;
  void Fail(std::string_view key, std::string_view what) const;
  bool ok() const { return status_->ok(); }
  // Of the field, from the root.
  std::string Path(std::string_view key) const;

 private:
  const nlohmann::json* Require(const char* key, bool (nlohmann::json::*is_type)() const, const char* type,
                                bool may_be_missing) const;

  const nlohmann::json* json_;
  std::string path_;
  absl::Status* status_;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_JSON_FIELDS_H_
