#include "dataloader/documents/input_files.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/text/unicode.h"

namespace bert::documents {
namespace {

namespace fs = std::filesystem;

constexpr char kWildcards[] = "*?[";
// Read as text they would teach a model markup, or nothing.
constexpr std::string_view kOtherFormats[] = {".arrow", ".bz2", ".csv", ".gz", ".html", ".json", ".pdf",
                                              ".tar",   ".tsv", ".xml", ".xz", ".zip",  ".zst"};

struct FileKind {
  Format format = Format::kText;
  Compression compression = Compression::kNone;
};

// Nothing where the extension says nothing.
std::optional<FileKind> KindOf(fs::path path) {
  FileKind kind;
  const fs::path outer = path.extension();
  if (outer == ".gz") kind.compression = Compression::kGzip;
  if (outer == ".zst") kind.compression = Compression::kZstd;
  if (outer == ".xz") kind.compression = Compression::kXz;
  if (kind.compression != Compression::kNone) path.replace_extension();
  const fs::path extension = path.extension();
  if (extension == ".parquet" && kind.compression == Compression::kNone) {
    kind.format = Format::kParquet;
  } else if (extension == ".jsonl" || extension == ".ndjson") {
    kind.format = Format::kJsonLines;
  } else if (extension != ".txt") {
    return std::nullopt;
  }
  return kind;
}

// File names are bytes; a manifest is UTF-8.
std::string Utf8Name(const std::string& name) {
  std::string out;
  for (size_t offset = 0; offset < name.size();) text::AppendUtf8(text::DecodeUtf8(name, &offset), &out);
  return out;
}

absl::StatusOr<InputFile> Describe(const std::string& path, const fs::path& base, const FileKind& kind) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return SystemError(errno, absl::StrCat("cannot read ", path));
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": neither a file nor a directory"));
  }
  return InputFile{.path = path,
                   .name = Utf8Name(fs::path(path).lexically_relative(base).string()),
                   .bytes = info.st_size,
                   .modified_ns = int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec,
                   .format = kind.format,
                   .compression = kind.compression};
}

absl::StatusOr<InputFile> DescribeNamed(const std::string& path, const fs::path& base) {
  const std::optional<FileKind> kind = KindOf(path);
  const std::string extension = fs::path(path).extension().string();
  if (!kind && std::find(std::begin(kOtherFormats), std::end(kOtherFormats), extension) != std::end(kOtherFormats)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path,
                     ": no format that is read here; *.txt, *.jsonl and *.ndjson are, these also with .gz, .zst "
                     "or .xz behind, and *.parquet"));
  }
  return Describe(path, base, kind.value_or(FileKind()));
}

absl::StatusOr<std::vector<InputFile>> ListDirectory(const std::string& directory, const fs::path& base) {
  std::error_code error;
  fs::recursive_directory_iterator it(directory, error);
  std::vector<InputFile> files;
  while (!error && it != fs::recursive_directory_iterator()) {
    const std::optional<FileKind> kind = KindOf(it->path());
    if (kind && it->is_regular_file(error)) {
      ASSIGN_OR_RETURN(InputFile file, Describe(it->path().string(), base, *kind));
      files.push_back(std::move(file));
    }
    it.increment(error);
  }
  if (error) return SystemError(error.value(), absl::StrCat("cannot read ", directory));
  std::sort(files.begin(), files.end(), [](const InputFile& a, const InputFile& b) { return a.path < b.path; });
  return files;
}

absl::StatusOr<std::vector<std::string>> Matches(const std::string& pattern) {
  glob_t found = {};
  const absl::Cleanup free_found = [&found] { globfree(&found); };
  const int result = glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  if (result == GLOB_NOMATCH) return absl::NotFoundError(absl::StrCat(pattern, ": nothing matches this pattern"));
  if (result != 0) return SystemError(errno == 0 ? EIO : errno, absl::StrCat("cannot read ", pattern));
  return std::vector<std::string>(found.gl_pathv, found.gl_pathv + found.gl_pathc);
}

// The directory before the first wildcard.
fs::path PatternBase(const std::string& pattern) {
  const std::string fixed = pattern.substr(0, pattern.find_first_of(kWildcards));
  return fixed.substr(0, fixed.rfind('/') == std::string::npos ? 0 : fixed.rfind('/') + 1);
}

struct ListedInput {
  // For a corpus that has no other name.
  std::string default_name;
  std::vector<InputFile> files;
  std::vector<std::string> directories;
};

std::string DirectoryName(const fs::path& directory) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(directory.empty() ? fs::path(".") : directory, error);
  return whole.has_filename() ? whole.filename().string() : whole.parent_path().filename().string();
}

std::string StemOf(fs::path path) {
  const bool known = KindOf(path).has_value();
  path = path.filename().replace_extension();
  while (known && KindOf(path).has_value()) path.replace_extension();
  return path.extension() == ".txt" || path.extension() == ".jsonl" || path.extension() == ".ndjson"
             ? path.stem().string()
             : path.string();
}

absl::StatusOr<ListedInput> ListPattern(const std::string& pattern) {
  const fs::path base = PatternBase(pattern);
  ListedInput listed{.default_name = DirectoryName(base), .files = {}, .directories = {}};
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, Matches(pattern));
  std::error_code error;
  for (const std::string& path : paths) {
    if (fs::is_directory(path, error)) {
      ASSIGN_OR_RETURN(std::vector<InputFile> below, ListDirectory(path, base));
      listed.files.insert(listed.files.end(), below.begin(), below.end());
      listed.directories.push_back(path);
    } else {
      ASSIGN_OR_RETURN(InputFile file, DescribeNamed(path, base));
      listed.files.push_back(std::move(file));
    }
  }
  if (listed.files.empty()) {
    return absl::NotFoundError(absl::StrCat(pattern, ": no *.txt, *.jsonl or *.parquet behind this pattern"));
  }
  return listed;
}

absl::StatusOr<ListedInput> ListInput(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    if (path.find_first_of(kWildcards) != std::string::npos) return ListPattern(path);
    return absl::NotFoundError(absl::StrCat(path, ": no such file or directory"));
  }
  if (error) return SystemError(error.value(), absl::StrCat("cannot read ", path));
  ListedInput listed;
  if (fs::is_directory(status)) {
    listed.default_name = DirectoryName(path);
    listed.directories.push_back(path);
    ASSIGN_OR_RETURN(listed.files, ListDirectory(path, path));
    if (listed.files.empty()) {
      return absl::NotFoundError(absl::StrCat(path, ": no *.txt, *.jsonl or *.parquet file in this directory"));
    }
    return listed;
  }
  listed.default_name = StemOf(path);
  ASSIGN_OR_RETURN(InputFile file, DescribeNamed(path, fs::path(path).parent_path()));
  listed.files.push_back(std::move(file));
  return listed;
}

bool IsCorpusName(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return c >= 0x80 || std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

struct Named {
  std::string name;  // Empty: none given.
  std::string value;
};

// "NAME=VALUE" or "VALUE".
Named Split(const std::string& argument) {
  const size_t equals = argument.find('=');
  if (equals == std::string::npos || !IsCorpusName(argument.substr(0, equals))) return {.name = "", .value = argument};
  return {.name = argument.substr(0, equals), .value = argument.substr(equals + 1)};
}

absl::Status ParseRule(const std::string& text, DocumentRule* rule) {
  rule->rows = 1;
  if (text == "auto") {
    rule->unit = DocumentRule::Unit::kNatural;
  } else if (text == "file") {
    rule->unit = DocumentRule::Unit::kFile;
  } else if (text.starts_with("rows:") && absl::SimpleAtoi(text.substr(5), &rule->rows) && rule->rows >= 1) {
    rule->unit = DocumentRule::Unit::kRows;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no way to cut documents; auto, file and rows:N are"));
  }
  return absl::OkStatus();
}

// Rules by corpus; under "" the one for all others.
class Rules {
 public:
  static absl::StatusOr<Rules> Parse(const InputSpec& spec) {
    Rules rules;
    // Those for all first, so that one for a corpus wins wherever it stands.
    for (const bool named : {false, true}) {
      for (const std::string& argument : spec.fields) {
        const Named field = Split(argument);
        if (field.name.empty() == named) continue;
        if (field.value.empty()) return absl::InvalidArgumentError("a field's name is empty");
        rules.For(field.name).field = field.value;
      }
      for (const std::string& argument : spec.documents) {
        const Named rule = Split(argument);
        if (rule.name.empty() == named) continue;
        RETURN_IF_ERROR(ParseRule(rule.value, &rules.For(rule.name)));
      }
    }
    return rules;
  }

  const DocumentRule& Of(const std::string& corpus) const {
    const auto found = rules_.find(corpus);
    return found == rules_.end() ? rules_.at("") : found->second;
  }

  absl::Status CheckUsed(const std::vector<std::string>& corpora) const {
    for (const auto& [name, rule] : rules_) {
      if (name.empty() || std::find(corpora.begin(), corpora.end(), name) != corpora.end()) continue;
      return absl::InvalidArgumentError(absl::StrCat("no input belongs to a corpus '", name, "'"));
    }
    return absl::OkStatus();
  }

 private:
  DocumentRule& For(const std::string& corpus) { return rules_.try_emplace(corpus, rules_[""]).first->second; }

  std::map<std::string, DocumentRule> rules_ = {{"", {}}};
};

}  // namespace

absl::StatusOr<InputFiles> ListInputFiles(const InputSpec& spec) {
  ASSIGN_OR_RETURN(const Rules rules, Rules::Parse(spec));
  InputFiles result;
  for (const std::string& argument : spec.inputs) {
    std::error_code error;
    const Named input = fs::exists(argument, error) ? Named{.name = "", .value = argument} : Split(argument);
    ASSIGN_OR_RETURN(ListedInput listed, ListInput(input.value));
    const std::string name = Utf8Name(input.name.empty() ? listed.default_name : input.name);
    const auto found = std::find(result.corpora.begin(), result.corpora.end(), name);
    const auto corpus = static_cast<int>(found - result.corpora.begin());
    if (found == result.corpora.end()) result.corpora.push_back(name);
    result.directories.insert(result.directories.end(), listed.directories.begin(), listed.directories.end());
    for (InputFile& file : listed.files) {
      file.corpus = corpus;
      file.rule = rules.Of(name);
      if (file.rule.unit == DocumentRule::Unit::kFile && file.format != Format::kText) {
        return absl::InvalidArgumentError(absl::StrCat(
            file.path, ": only a text file can be one document (--documents file); give its corpus a rule of its own"));
      }
      result.files.push_back(std::move(file));
    }
  }
  RETURN_IF_ERROR(rules.CheckUsed(result.corpora));
  return result;
}

}  // namespace bert::documents
