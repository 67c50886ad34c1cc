#include "dataloader/documents/decompression.h"

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace bert::documents {
namespace {

constexpr size_t kPackedBytes = 1 << 18;
constexpr int kZstdWindowLogMax = 27;
constexpr uint64_t kXzMemoryBytesMax = uint64_t{512} << 20;
// zlib's way to ask for gzip's header and trailer, with the largest window.
constexpr int kGzipWindowBits = 16 + MAX_WBITS;

// The loop that all formats share; a format adds what its library does with one piece.
class Decompressor : public ByteSource {
 public:
  Decompressor(Compression compression, ByteSource* packed)
      : compression_(compression), packed_(packed), buffer_(kPackedBytes, '\0') {}

  absl::StatusOr<size_t> Read(char* out, size_t size) final {
    RETURN_IF_ERROR(status_);
    while (true) {
      if (begin_ == end_ && !packed_ended_) RETURN_IF_ERROR(Fill());
      if (!in_stream_) {
        if (begin_ == end_) return 0;
        StartStream();
        in_stream_ = true;
      }
      size_t consumed = 0;
      size_t produced = 0;
      const absl::StatusOr<bool> ended =
          Step(buffer_.data() + begin_, end_ - begin_, packed_ended_, &consumed, out, size, &produced);
      if (!ended.ok()) return status_ = ended.status();
      begin_ += consumed;
      if (*ended) in_stream_ = false;
      if (produced > 0) return produced;
      if (in_stream_ && consumed == 0 && packed_ended_) {
        return status_ = absl::DataLossError(absl::StrCat("cut off: the ", CompressionName(compression_),
                                                          " stream ends early, at byte ", packed_bytes_));
      }
    }
  }

 protected:
  // Takes packed bytes, gives unpacked ones; true where the stream ends. `last`: no more packed bytes come.
  virtual absl::StatusOr<bool> Step(const char* in, size_t in_size, bool last, size_t* consumed, char* out,
                                    size_t out_size, size_t* produced) = 0;
  // Gets ready for a further stream.
  virtual void StartStream() = 0;

  absl::Status Damaged(absl::string_view what) const {
    return absl::DataLossError(absl::StrCat("damaged: ", what, " in the ", CompressionName(compression_),
                                            " stream, before byte ", packed_bytes_ + 1));
  }

 private:
  absl::Status Fill() {
    const absl::StatusOr<size_t> got = packed_->Read(buffer_.data(), buffer_.size());
    if (!got.ok()) return status_ = got.status();
    begin_ = 0;
    end_ = *got;
    packed_bytes_ += static_cast<int64_t>(*got);
    packed_ended_ = *got == 0;
    return absl::OkStatus();
  }

  const Compression compression_;
  ByteSource* const packed_;
  absl::Status status_;
  std::string buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  int64_t packed_bytes_ = 0;
  bool packed_ended_ = false;
  bool in_stream_ = true;  // From the start: a file of no bytes at all holds no stream.
};

class GzipSource final : public Decompressor {
 public:
  explicit GzipSource(ByteSource* packed) : Decompressor(Compression::kGzip, packed) {
    BERT_CHECK(inflateInit2(&stream_, kGzipWindowBits) == Z_OK);
  }
  ~GzipSource() override { inflateEnd(&stream_); }

 protected:
  absl::StatusOr<bool> Step(const char* in, size_t in_size, bool, size_t* consumed, char* out, size_t out_size,
                            size_t* produced) override {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in));
    stream_.avail_in = static_cast<uInt>(in_size);
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(std::min<size_t>(out_size, std::numeric_limits<uInt>::max()));
    const uInt room = stream_.avail_out;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    *consumed = in_size - stream_.avail_in;
    *produced = room - stream_.avail_out;
    if (result == Z_STREAM_END) return true;
    if (result == Z_OK || result == Z_BUF_ERROR) return false;
    BERT_CHECK(result != Z_MEM_ERROR && result != Z_STREAM_ERROR) << "inflate: " << result;
    return Damaged(stream_.msg != nullptr ? stream_.msg : "bad data");
  }
  void StartStream() override { inflateReset(&stream_); }

 private:
  z_stream stream_ = {};
};

class ZstdSource final : public Decompressor {
 public:
  explicit ZstdSource(ByteSource* packed) : Decompressor(Compression::kZstd, packed), stream_(ZSTD_createDStream()) {
    BERT_CHECK(stream_ != nullptr);
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, kZstdWindowLogMax);
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }

 protected:
  absl::StatusOr<bool> Step(const char* in, size_t in_size, bool, size_t* consumed, char* out, size_t out_size,
                            size_t* produced) override {
    ZSTD_inBuffer input = {in, in_size, 0};
    ZSTD_outBuffer output = {out, out_size, 0};
    const size_t result = ZSTD_decompressStream(stream_, &output, &input);
    *consumed = input.pos;
    *produced = output.pos;
    if (ZSTD_isError(result)) return Damaged(ZSTD_getErrorName(result));
    return result == 0;
  }
  void StartStream() override { ZSTD_DCtx_reset(stream_, ZSTD_reset_session_only); }

 private:
  ZSTD_DStream* const stream_;
};

class XzSource final : public Decompressor {
 public:
  explicit XzSource(ByteSource* packed) : Decompressor(Compression::kXz, packed) { StartStream(); }
  ~XzSource() override { lzma_end(&stream_); }

 protected:
  absl::StatusOr<bool> Step(const char* in, size_t in_size, bool last, size_t* consumed, char* out, size_t out_size,
                            size_t* produced) override {
    stream_.next_in = reinterpret_cast<const uint8_t*>(in);
    stream_.avail_in = in_size;
    stream_.next_out = reinterpret_cast<uint8_t*>(out);
    stream_.avail_out = out_size;
    const lzma_ret result = lzma_code(&stream_, last ? LZMA_FINISH : LZMA_RUN);
    *consumed = in_size - stream_.avail_in;
    *produced = out_size - stream_.avail_out;
    switch (result) {
      case LZMA_OK:
      case LZMA_BUF_ERROR:
        return false;
      case LZMA_STREAM_END:
        return true;
      case LZMA_MEMLIMIT_ERROR:
        return Damaged("a dictionary over 512 MiB");
      case LZMA_FORMAT_ERROR:
        return Damaged("no xz header");
      case LZMA_OPTIONS_ERROR:
        return Damaged("unknown options");
      default:
        return Damaged("bad data");
    }
  }
  void StartStream() override { BERT_CHECK(lzma_stream_decoder(&stream_, kXzMemoryBytesMax, 0) == LZMA_OK); }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
};

}  // namespace

absl::string_view CompressionName(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "";
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
    case Compression::kXz:
      return "xz";
  }
  return "";
}

std::unique_ptr<ByteSource> Decompress(Compression compression, ByteSource* packed) {
  switch (compression) {
    case Compression::kGzip:
      return std::make_unique<GzipSource>(packed);
    case Compression::kZstd:
      return std::make_unique<ZstdSource>(packed);
    case Compression::kXz:
      return std::make_unique<XzSource>(packed);
    case Compression::kNone:
      break;
  }
  BERT_CHECK(false) << "nothing to unpack";
  return nullptr;
}

}  // namespace bert::documents
