#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/spec/field_value.h"
#include "common/spec/job_spec.h"
#include "common/spec/nearest_name.h"

namespace bert::spec {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kSpecBytesMax = 1 << 20;

std::string Join(std::string_view parent, std::string_view name) {
  return parent.empty() ? std::string(name) : fmt::format("{}.{}", parent, name);
}

// Every field path below `type`, in the proto's order: "train", "train.steps", ...
void CollectPaths(const Descriptor& type, const std::string& parent, std::vector<std::string>& paths) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string path = Join(parent, field.name());
    paths.push_back(path);
    if (field.message_type() != nullptr) CollectPaths(*field.message_type(), path, paths);
  }
}

std::string UnknownField(const Descriptor& type, const std::string& parent, std::string_view name) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  if (const auto nearest = NearestName(name, names)) {
    return absl::StrCat("unknown field; did you mean '", Join(parent, *nearest), "'?");
  }
  // The right name at the wrong place.
  std::vector<std::string> paths;
  CollectPaths(*v1::JobSpec::descriptor(), "", paths);
  for (const std::string& path : paths) {
    if (path.size() > name.size() && path.ends_with(fmt::format(".{}", name))) {
      return absl::StrCat("unknown field; did you mean '", path, "'?");
    }
  }
  return absl::StrCat("unknown field; ", parent.empty() ? "a job" : absl::StrCat("'", parent, "'"),
                      " has: ", absl::StrJoin(names, ", "));
}

// Walks one document against the descriptor of JobSpec and collects everything that is wrong with it.
class Reader {
 public:
  Reader(std::string_view file_name, ParsedSpec& out) : file_name_(file_name), out_(out) {}

  void ReadDocument(std::string_view text) {
    try {
      const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
      if (documents.empty() || documents.front().IsNull()) {
        problems_.push_back(absl::StrCat(file_name_, ": the file is empty; it takes the fields of a job"));
        return;
      }
      if (documents.size() > 1) {
        Report(documents[1].Mark(), "", "a second YAML document starts here; a file holds one job");
      }
      ReadMessage(documents.front(), "", out_.spec);
    } catch (const YAML::Exception& error) {
      Report(error.mark, "", absl::StrCat("not valid YAML: ", error.msg));
    }
  }

  void ReadOverride(const std::string& text) {
    const std::string location = absl::StrCat("--set ", text);
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      problems_.push_back(absl::StrCat(location, ": must be of the form field.path=value"));
      return;
    }
    const std::string path = text.substr(0, equals);
    const std::string value = text.substr(equals + 1);
    Message* message = &out_.spec;
    std::string parent;
    const std::vector<std::string> names = absl::StrSplit(path, '.');
    for (size_t i = 0; i < names.size(); ++i) {
      const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(names[i]);
      const std::string here = Join(parent, names[i]);
      const bool last = i + 1 == names.size();
      if (field == nullptr) {
        Report(location, here, UnknownField(*message->GetDescriptor(), parent, names[i]));
        return;
      }
      if (field->is_repeated()) {
        Report(location, here, "is a list; give it in the file");
        return;
      }
      if (field->message_type() == nullptr) {
        if (!last) {
          Report(location, here, "is a value and has no fields");
        } else if (value.empty()) {
          Report(location, here, "has no value");
        } else {
          SetScalar(location, here, value, false, *field, *message);
        }
        return;
      }
      if (last) {
        Report(location, here, absl::StrCat("holds fields; set one of them: ", FieldNames(*field->message_type())));
        return;
      }
      message = message->GetReflection()->MutableMessage(message, field);
      parent = here;
    }
  }

  absl::Status status() const {
    return problems_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(problems_, "\n"));
  }

 private:
  static std::string FieldNames(const Descriptor& type) {
    std::vector<std::string> names;
    for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
    return absl::StrJoin(names, ", ");
  }

  std::string Location(const YAML::Mark& mark) const {
    return mark.is_null() ? file_name_ : absl::StrCat(file_name_, ":", mark.line + 1);
  }

  void Report(const YAML::Mark& mark, const std::string& path, std::string_view problem) {
    Report(Location(mark), path, problem);
  }

  void Report(const std::string& location, const std::string& path, std::string_view problem) {
    problems_.push_back(fmt::format("{}: {}{}{}", location, path, path.empty() ? "" : ": ", problem));
  }

  void SetScalar(const std::string& location, const std::string& path, std::string_view text, bool quoted,
                 const FieldDescriptor& field, Message& message) {
    const absl::Status status = SetFieldFromText(text, quoted, field, message);
    if (!status.ok()) {
      Report(location, path, std::string(status.message()));
      return;
    }
    out_.locations[path] = location;
  }

  // The tree keeps both of two equal keys, so that they can be told apart here.
  void ReadMessage(const YAML::Node& node, const std::string& path, Message& message) {
    const Descriptor& type = *message.GetDescriptor();
    if (!node.IsMap()) {
      Report(node.Mark(), path,
             absl::StrCat("must hold fields (", FieldNames(type), "), not a ",
                          node.IsSequence() ? "list" : "single value"));
      return;
    }
    std::map<std::string, int> first_lines;
    for (const auto& entry : node) {
      const YAML::Node& key = entry.first;
      if (!key.IsScalar()) {
        Report(key.Mark(), path, "a field's name must be a plain word");
        continue;
      }
      const std::string& name = key.Scalar();
      const std::string here = Join(path, name);
      const auto [first, is_new] = first_lines.emplace(name, key.Mark().line + 1);
      if (!is_new) {
        Report(key.Mark(), here, absl::StrCat("given twice, first on line ", first->second));
        continue;
      }
      const FieldDescriptor* field = type.FindFieldByName(name);
      if (field == nullptr) {
        Report(key.Mark(), here, UnknownField(type, path, name));
      } else {
        ReadField(key, entry.second, here, *field, message);
      }
    }
  }

  // Items are "path[0]", "path[1]", ...
  void ReadList(const YAML::Node& value, const std::string& path, const FieldDescriptor& field, Message& message) {
    if (!value.IsSequence() || value.size() == 0) {
      Report(value.Mark(), path,
             absl::StrCat("must be a list, each item with fields (", FieldNames(*field.message_type()), ")"));
      return;
    }
    for (size_t i = 0; i < value.size(); ++i) {
      const std::string item = fmt::format("{}[{}]", path, i);
      out_.locations[item] = Location(value[i].Mark());
      ReadMessage(value[i], item, *message.GetReflection()->AddMessage(&message, &field));
    }
  }

  void ReadField(const YAML::Node& key, const YAML::Node& value, const std::string& path, const FieldDescriptor& field,
                 Message& message) {
    if (value.IsNull()) {
      Report(key.Mark(), path, "has no value; give one or remove the field");
    } else if (field.is_repeated()) {
      out_.locations[path] = Location(key.Mark());
      ReadList(value, path, field, message);
    } else if (field.message_type() != nullptr) {
      out_.locations[path] = Location(key.Mark());
      ReadMessage(value, path, *message.GetReflection()->MutableMessage(&message, &field));
    } else if (!value.IsScalar()) {
      Report(value.Mark(), path, absl::StrCat("must be a single value, not ", value.IsMap() ? "fields" : "a list"));
    } else if (const std::string& tag = value.Tag(); tag != "?" && tag != "!" && !tag.empty()) {
      Report(value.Mark(), path, absl::StrCat("must have no tag; it has ", tag));
    } else {
      SetScalar(Location(key.Mark()), path, value.Scalar(), tag == "!", field, message);
    }
  }

  const std::string file_name_;
  ParsedSpec& out_;
  std::vector<std::string> problems_;
};

}  // namespace

absl::StatusOr<ParsedSpec> ParseJobSpec(std::string_view yaml_text, std::string_view file_name,
                                        const std::vector<std::string>& overrides) {
  if (yaml_text.size() > kSpecBytesMax) {
    return absl::InvalidArgumentError(
        fmt::format("{}: has {} bytes; a job has at most {}", file_name, yaml_text.size(), kSpecBytesMax));
  }
  ParsedSpec parsed;
  parsed.locations[""] = std::string(file_name);
  Reader reader(file_name, parsed);
  reader.ReadDocument(yaml_text);
  for (const std::string& text : overrides) reader.ReadOverride(text);
  if (absl::Status status = reader.status(); !status.ok()) return status;
  return parsed;
}

}  // namespace bert::spec
