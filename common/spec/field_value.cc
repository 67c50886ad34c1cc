#include "common/spec/field_value.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/check.h"
#include "common/spec/job_spec.h"
#include "common/spec/nearest_name.h"

namespace bert::spec {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

absl::Status Wrong(std::string_view expected, std::string_view text, bool quoted) {
  constexpr size_t kShownBytes = 60;
  const std::string shown =
      text.size() > kShownBytes ? fmt::format("{}...", text.substr(0, kShownBytes)) : std::string(text);
  return absl::InvalidArgumentError(quoted ? fmt::format("must be {}, without quotes; it is \"{}\"", expected, shown)
                                           : fmt::format("must be {}; it is '{}'", expected, shown));
}

// How many decimal digits `text` begins with.
size_t CountDigits(std::string_view text) {
  const size_t end = text.find_first_not_of("0123456789");
  return end == std::string_view::npos ? text.size() : end;
}

std::string_view WithoutSign(std::string_view text) { return text.starts_with('-') ? text.substr(1) : text; }

bool HasLeadingZero(std::string_view digits) { return digits.size() > 1 && digits.front() == '0'; }

// -?(0|[1-9][0-9]*)
bool IsInteger(std::string_view text) {
  const std::string_view digits = WithoutSign(text);
  return !digits.empty() && CountDigits(digits) == digits.size() && !HasLeadingZero(digits);
}

// An integer's digits, a point with digits at one side at least, an exponent: all but some digits may be missing.
bool IsDecimal(std::string_view text) {
  text = WithoutSign(text);
  const size_t whole = CountDigits(text);
  if (HasLeadingZero(text.substr(0, whole))) return false;
  text.remove_prefix(whole);
  size_t fraction = 0;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    fraction = CountDigits(text);
    text.remove_prefix(fraction);
  }
  if (whole + fraction == 0) return false;
  if (text.empty()) return true;
  if (text.front() != 'e' && text.front() != 'E') return false;
  text.remove_prefix(1);
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return !text.empty() && CountDigits(text) == text.size();
}

template <typename Integer>
absl::Status ParseInteger(std::string_view text, bool quoted, Integer* value) {
  if (quoted || !IsInteger(text)) {
    const std::string_view digits = WithoutSign(text);
    if (!quoted && CountDigits(digits) == digits.size() && HasLeadingZero(digits)) {
      return Wrong("a whole number without leading zeros", text, quoted);
    }
    return Wrong("a whole number in digits only", text, quoted);
  }
  if (std::from_chars(text.data(), text.data() + text.size(), *value).ec != std::errc()) {
    return Wrong(
        fmt::format("between {} and {}", std::numeric_limits<Integer>::min(), std::numeric_limits<Integer>::max()),
        text, quoted);
  }
  return absl::OkStatus();
}

absl::Status ParseDouble(std::string_view text, bool quoted, double* value) {
  if (quoted || !IsDecimal(text)) return Wrong("a decimal number such as 0.1 or 1e-4", text, quoted);
  // Underflow to zero is an error too: a learning rate of 1e-400 is a slip.
  if (std::from_chars(text.data(), text.data() + text.size(), *value).ec != std::errc()) {
    return Wrong("a number a double holds", text, quoted);
  }
  return absl::OkStatus();
}

absl::Status SetEnum(std::string_view text, const FieldDescriptor& field, Message& message) {
  const EnumDescriptor& type = *field.enum_type();
  for (int i = 1; i < type.value_count(); ++i) {
    if (EnumValueName(*type.value(i)) == text) {
      message.GetReflection()->SetEnum(&message, &field, type.value(i));
      return absl::OkStatus();
    }
  }
  const std::vector<std::string> names = EnumValueNames(type);
  absl::Status status = Wrong(absl::StrCat("one of ", absl::StrJoin(names, ", ")), text, false);
  if (const auto nearest = NearestName(absl::AsciiStrToLower(std::string(text)), names)) {
    return absl::InvalidArgumentError(absl::StrCat(status.message(), "; did you mean '", *nearest, "'?"));
  }
  return status;
}

std::string DoubleText(double value) {
  std::string text = fmt::format("{}", value);
  // fmt writes 1e-06.
  if (const size_t zero = text.find("e-0"); zero != std::string::npos) text.erase(zero + 2, 1);
  if (const size_t zero = text.find("e+0"); zero != std::string::npos) text.erase(zero + 2, 1);
  return text;
}

// Whether YAML reads `text` back as the same plain string.
bool PlainIsSafe(std::string_view text) {
  if (text.empty() || text.front() == ':' || text.front() == '+' || text.front() == '-') return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && std::string_view("_./:+-").find(c) == text.npos) {
      return false;
    }
  }
  if (text.back() == ':') return false;
  return absl::AsciiStrToLower(std::string(text)) != "null";
}

std::string StringText(const std::string& text) {
  if (PlainIsSafe(text)) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted.append({'\\', c});
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppend(&quoted, fmt::format("\\x{:02x}", byte));
    } else {
      quoted.push_back(c);
    }
  }
  return quoted + "\"";
}

}  // namespace

std::string EnumValueName(const EnumValueDescriptor& value) {
  // The zero value is <PREFIX>UNSPECIFIED by buf's rules.
  const size_t prefix = value.type()->FindValueByNumber(0)->name().size() - std::string_view("UNSPECIFIED").size();
  return absl::AsciiStrToLower(value.name().substr(prefix));
}

std::vector<std::string> EnumValueNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(EnumValueName(*type.value(i)));
  }
  return names;
}

absl::Status SetFieldFromText(std::string_view text, bool quoted, const FieldDescriptor& field, Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  absl::Status status;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t value = 0;
      if (status = ParseInteger(text, quoted, &value); status.ok()) reflection.SetInt32(&message, &field, value);
      return status;
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t value = 0;
      if (status = ParseInteger(text, quoted, &value); status.ok()) reflection.SetInt64(&message, &field, value);
      return status;
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t value = 0;
      if (status = ParseInteger(text, quoted, &value); status.ok()) reflection.SetUInt64(&message, &field, value);
      return status;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value = 0;
      if (status = ParseDouble(text, quoted, &value); status.ok()) reflection.SetDouble(&message, &field, value);
      return status;
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      if (quoted || (text != "true" && text != "false")) return Wrong("true or false", text, quoted);
      reflection.SetBool(&message, &field, text == "true");
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(text, field, message);
    case FieldDescriptor::CPPTYPE_STRING:
      reflection.SetString(&message, &field, std::string(text));
      return absl::OkStatus();
    default:
      return absl::InternalError(absl::StrCat("has a type no spec field may have: ", field.cpp_type_name()));
  }
}

std::string FieldText(const Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return fmt::format("{}", reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return fmt::format("{}", reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return fmt::format("{}", reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return DoubleText(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumValueName(*reflection.GetEnum(message, &field));
    default:
      return StringText(reflection.GetString(message, &field));
  }
}

std::string FieldText(const Message& message, const FieldDescriptor& field, int index) {
  BERT_CHECK(field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) << field.full_name() << " is no list of strings";
  return StringText(message.GetReflection()->GetRepeatedString(message, &field, index));
}

}  // namespace bert::spec
