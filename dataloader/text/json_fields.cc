#include "dataloader/text/json_fields.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bert::text {
namespace {

using Json = nlohmann::json;

const Json& EmptyObject() {
  static const Json* const empty = new Json(Json::object());
  return *empty;
}

}  // namespace

JsonFields::JsonFields(const Json& json, std::string path, absl::Status* status)
    : json_(&json), path_(std::move(path)), status_(status) {
  if (json.is_object()) return;
  Fail("", "is not an object");
  json_ = &EmptyObject();
}

std::string JsonFields::Path(std::string_view key) const {
  if (key.empty()) return path_.empty() ? "the file" : path_;
  return path_.empty() ? std::string(key) : absl::StrCat(path_, ".", std::string(key));
}

void JsonFields::Fail(std::string_view key, std::string_view what) const {
  if (status_->ok()) *status_ = absl::InvalidArgumentError(absl::StrCat(Path(key), ": ", std::string(what)));
}

const Json* JsonFields::Find(const char* key) const {
  const auto found = json_->find(key);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

const Json* JsonFields::Require(const char* key, bool (Json::*is_type)() const, const char* type,
                                bool may_be_missing) const {
  const Json* value = Find(key);
  if (value == nullptr) {
    if (!may_be_missing) Fail(key, "is missing");
    return nullptr;
  }
  if ((value->*is_type)()) return value;
  Fail(key, absl::StrCat("is not ", type));
  return nullptr;
}

bool JsonFields::Bool(const char* key, std::optional<bool> fallback) const {
  const Json* value = Require(key, &Json::is_boolean, "true or false", fallback.has_value());
  return value == nullptr ? fallback.value_or(false) : value->get<bool>();
}

std::string JsonFields::String(const char* key, std::optional<std::string> fallback) const {
  const Json* value = Require(key, &Json::is_string, "a string", fallback.has_value());
  return value == nullptr ? fallback.value_or("") : value->get<std::string>();
}

std::optional<bool> JsonFields::OptionalBool(const char* key) const {
  const Json* value = Require(key, &Json::is_boolean, "true, false or null", true);
  return value == nullptr ? std::nullopt : std::optional(value->get<bool>());
}

std::optional<std::string> JsonFields::OptionalString(const char* key) const {
  const Json* value = Require(key, &Json::is_string, "a string or null", true);
  return value == nullptr ? std::nullopt : std::optional(value->get<std::string>());
}

size_t JsonFields::Count(const char* key, std::optional<size_t> fallback) const {
  const Json* value = Require(key, &Json::is_number_unsigned, "a whole number >= 0", fallback.has_value());
  return value == nullptr ? fallback.value_or(0) : value->get<size_t>();
}

JsonFields JsonFields::Object(const char* key) const {
  const Json* value = Require(key, &Json::is_object, "an object", false);
  return JsonFields(value == nullptr ? EmptyObject() : *value, Path(key), status_);
}

std::vector<JsonFields> JsonFields::Objects(const char* key) const {
  std::vector<JsonFields> objects;
  const Json* value = Require(key, &Json::is_array, "an array", false);
  for (size_t i = 0; value != nullptr && i < value->size(); ++i) {
    objects.emplace_back((*value)[i], absl::StrCat(Path(key), "[", i, "]"), status_);
  }
  return objects;
}

void JsonFields::AllowOnly(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, value] : json_->items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) Fail(key, "is not supported");
  }
}

}  // namespace bert::text
