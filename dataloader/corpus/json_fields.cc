#include "dataloader/corpus/json_fields.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace bert::corpus {
namespace {

const Json& Nothing() {
  static const Json nothing = Json::object();
  return nothing;
}

}  // namespace

JsonFields::JsonFields(const Json& json, std::string where, std::string root, absl::Status* status)
    : json_(json), where_(std::move(where)), root_(std::move(root)), status_(status) {
  if (!json_.is_object()) Fail("", "is not an object");
}

std::string JsonFields::String(const char* key) const {
  const Json* value = Find(key, &Json::is_string, "a string");
  return value == nullptr ? "" : value->get<std::string>();
}

bool JsonFields::Bool(const char* key) const {
  const Json* value = Find(key, &Json::is_boolean, "true or false");
  return value != nullptr && value->get<bool>();
}

double JsonFields::Number(const char* key) const {
  const Json* value = Find(key, &Json::is_number, "a number");
  return value == nullptr ? 0 : value->get<double>();
}

int64_t JsonFields::Count(const char* key) const {
  const Json* value = Find(key, &Json::is_number_unsigned, "a whole number >= 0");
  if (value == nullptr) return 0;
  const auto count = value->get<uint64_t>();
  if (count <= static_cast<uint64_t>(INT64_MAX)) return static_cast<int64_t>(count);
  Fail(key, "is too large");
  return 0;
}

std::vector<uint64_t> JsonFields::Counts(const char* key) const {
  std::vector<uint64_t> counts;
  const Json* value = Find(key, &Json::is_array, "an array");
  for (size_t i = 0; value != nullptr && i < value->size(); ++i) {
    if (!(*value)[i].is_number_unsigned()) {
      Fail(key, absl::StrCat("has no whole number >= 0 at ", i));
      return {};
    }
    counts.push_back((*value)[i].get<uint64_t>());
  }
  return counts;
}

JsonFields JsonFields::Object(const char* key) const {
  const Json* value = Find(key, &Json::is_object, "an object");
  return JsonFields(value == nullptr ? Nothing() : *value, Path(key), root_, status_);
}

std::vector<JsonFields> JsonFields::Array(const char* key) const {
  std::vector<JsonFields> fields;
  const Json* value = Find(key, &Json::is_array, "an array");
  for (size_t i = 0; value != nullptr && i < value->size(); ++i) {
    fields.emplace_back((*value)[i], absl::StrCat(Path(key), "[", i, "]"), root_, status_);
  }
  return fields;
}

void JsonFields::Fail(absl::string_view key, absl::string_view what) const {
  if (status_->ok()) *status_ = absl::DataLossError(absl::StrCat(Path(key), " ", what));
}

std::string JsonFields::Path(absl::string_view key) const {
  if (key.empty()) return where_.empty() ? root_ : where_;
  return where_.empty() ? std::string(key) : absl::StrCat(where_, ".", key);
}

const Json* JsonFields::Find(const char* key, bool (Json::*is_type)() const noexcept, const char* type) const {
  const auto found = json_.find(key);
  if (found == json_.end()) {
    Fail(key, "is missing");
    return nullptr;
  }
  if (!((*found).*is_type)()) {
    Fail(key, absl::StrCat("is not ", type));
    return nullptr;
  }
  return &*found;
}

}  // namespace bert::corpus
