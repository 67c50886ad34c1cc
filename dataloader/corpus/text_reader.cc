#include "dataloader/corpus/text_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/text/unicode.h"

namespace bert::corpus {
namespace {

namespace fs = std::filesystem;

constexpr char kExtension[] = ".txt";
constexpr char kByteOrderMark[] = "\xEF\xBB\xBF";
constexpr char kWhitespace[] = " \t\r\n\v\f";
constexpr size_t kReadBytes = 1 << 20;

// File names are bytes; a manifest is UTF-8.
std::string Utf8Name(const std::string& name) {
  std::string out;
  for (size_t offset = 0; offset < name.size();) text::AppendUtf8(text::DecodeUtf8(name, &offset), &out);
  return out;
}

absl::Status FileSystemError(const std::error_code& error, const std::string& path) {
  return SystemError(error.value(), absl::StrCat("cannot read ", path));
}

absl::Status AddDirectory(const std::string& directory, std::vector<TextFile>* files) {
  std::error_code error;
  fs::recursive_directory_iterator it(directory, error);
  if (error) return FileSystemError(error, directory);
  std::vector<TextFile> found;
  while (it != fs::recursive_directory_iterator()) {
    const fs::path& path = it->path();
    if (path.extension() == kExtension && it->is_regular_file(error)) {
      const auto bytes = static_cast<int64_t>(it->file_size(error));
      if (error) return FileSystemError(error, path.string());
      found.push_back({path.string(), Utf8Name(path.lexically_relative(directory).string()), bytes});
    }
    it.increment(error);
    if (error) return FileSystemError(error, directory);
  }
  if (found.empty())
    return absl::NotFoundError(absl::StrCat(directory, ": no ", kExtension, " file in this directory"));
  std::sort(found.begin(), found.end(), [](const TextFile& a, const TextFile& b) { return a.path < b.path; });
  files->insert(files->end(), found.begin(), found.end());
  return absl::OkStatus();
}

std::string_view StripTrailingWhitespace(std::string_view line) {
  const size_t last = line.find_last_not_of(kWhitespace);
  return line.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

}  // namespace

absl::StatusOr<std::vector<TextFile>> ListTextFiles(const std::vector<std::string>& inputs) {
  std::vector<TextFile> files;
  for (const std::string& input : inputs) {
    std::error_code error;
    const fs::file_status status = fs::status(input, error);
    if (status.type() == fs::file_type::not_found) {
      return absl::NotFoundError(absl::StrCat(input, ": no such file or directory"));
    }
    if (error) return FileSystemError(error, input);
    if (fs::is_directory(status)) {
      RETURN_IF_ERROR(AddDirectory(input, &files));
      continue;
    }
    if (!fs::is_regular_file(status)) {
      return absl::InvalidArgumentError(absl::StrCat(input, ": neither a file nor a directory"));
    }
    const auto bytes = static_cast<int64_t>(fs::file_size(input, error));
    if (error) return FileSystemError(error, input);
    files.push_back({input, Utf8Name(fs::path(input).filename().string()), bytes});
  }
  return files;
}

// One file, line by line, digested on the way.
class TextReader::LineReader {
 public:
  static absl::StatusOr<std::unique_ptr<LineReader>> Open(const TextFile& file) {
    const int fd = open(file.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return SystemError(errno, absl::StrCat("cannot open ", file.path));
    return std::unique_ptr<LineReader>(new LineReader(file, fd));
  }
  ~LineReader() { close(fd_); }
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // False at the end of the file. The line is without its '\n'.
  absl::StatusOr<bool> Next(std::string* line) {
    line->clear();
    bool any = false;
    while (true) {
      if (begin_ == end_) {
        RETURN_IF_ERROR(Fill());
        if (end_ == 0) {
          if (any) ++line_number_;
          return any;
        }
      }
      any = true;
      const std::string_view rest(buffer_.data() + begin_, end_ - begin_);
      const size_t newline = rest.find('\n');
      line->append(rest.substr(0, newline));
      if (newline != std::string_view::npos) {
        begin_ += newline + 1;
        ++line_number_;
        return true;
      }
      begin_ = end_;
      if (static_cast<int64_t>(line->size()) > kDocumentBytesMax) {
        ++line_number_;
        return true;
      }
    }
  }

  const std::string& path() const { return file_.path; }
  // Of the line that Next() gave last, from 1.
  int64_t line_number() const { return line_number_; }
  int64_t bytes() const { return bytes_; }
  FileEntry Source() const { return {.name = file_.name, .bytes = bytes_, .digest = digester_.Finish()}; }

 private:
  LineReader(const TextFile& file, int fd) : file_(file), fd_(fd), buffer_(kReadBytes, '\0') {}

  // Leaves end_ at 0 at the end of the file.
  absl::Status Fill() {
    ssize_t got;
    do {
      got = read(fd_, buffer_.data(), buffer_.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0) return SystemError(errno, absl::StrCat("cannot read ", file_.path));
    begin_ = 0;
    end_ = static_cast<size_t>(got);
    bytes_ += got;
    digester_.Update(std::string_view(buffer_.data(), end_));
    return absl::OkStatus();
  }

  const TextFile file_;
  const int fd_;
  std::string buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  int64_t line_number_ = 0;
  int64_t bytes_ = 0;
  Digester digester_;
};

TextReader::TextReader(std::vector<TextFile> files, TextReaderOptions options)
    : files_(std::move(files)), options_(std::move(options)) {}

TextReader::~TextReader() = default;

absl::StatusOr<std::optional<std::string>> TextReader::Fail(absl::Status status) {
  open_.reset();
  next_file_ = files_.size();
  return status;
}

absl::StatusOr<std::optional<std::string>> TextReader::Next() {
  while (true) {
    if (open_ == nullptr) {
      if (next_file_ == files_.size()) return std::nullopt;
      auto opened = LineReader::Open(files_[next_file_++]);
      if (!opened.ok()) return Fail(opened.status());
      open_ = *std::move(opened);
    }
    const int64_t bytes_before = open_->bytes();
    absl::StatusOr<std::optional<std::string>> document = NextInFile();
    if (!document.ok()) return Fail(document.status());
    bytes_read_ += open_->bytes() - bytes_before;
    if (!document->has_value()) {
      sources_.push_back(open_->Source());
      open_.reset();
    } else if (!(*document)->empty()) {
      return document;
    }
  }
}

absl::StatusOr<std::optional<std::string>> TextReader::NextInFile() {
  std::string document;
  std::string line;
  bool invalid = false;
  bool any = false;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, open_->Next(&line));
    if (!more) break;
    const auto here = [this] { return absl::StrCat(open_->path(), ":", open_->line_number()); };
    std::string_view paragraph = StripTrailingWhitespace(line);
    if (open_->line_number() == 1 && paragraph.starts_with(kByteOrderMark)) {
      paragraph.remove_prefix(sizeof(kByteOrderMark) - 1);
    }
    if (paragraph.empty()) {
      if (any) break;
      continue;
    }
    any = true;
    if (const size_t bad = text::FindInvalidUtf8(paragraph); bad != std::string_view::npos && !invalid) {
      const std::string what = absl::StrCat(here(), ": not UTF-8 at byte ", bad + 1, " of the line");
      if (options_.strict) return absl::InvalidArgumentError(what);
      if (options_.report) options_.report(absl::StrCat(what, "; its document is left out"));
      invalid = true;
      ++invalid_documents_;
    }
    if (static_cast<int64_t>(document.size() + paragraph.size()) > kDocumentBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat(here(), ": this document has more than ", kDocumentBytesMax >> 20,
                                                     " MiB; separate documents by blank lines"));
    }
    if (invalid) continue;
    if (!document.empty()) document.push_back('\n');
    document.append(paragraph);
  }
  if (!any) return std::nullopt;
  return invalid ? std::string() : std::move(document);
}

}  // namespace bert::corpus
