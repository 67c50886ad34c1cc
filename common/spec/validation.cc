#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/spec/field_value.h"
#include "common/spec/job_spec.h"
#include "common/spec/recipe_check.h"

namespace bert::spec {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Where a number may lie. Open ends exclude the bound itself.
struct Bound {
  const char* path;
  double min;
  double max;
  bool min_is_open = false;
  bool max_is_open = false;
};

constexpr double kStepsMax = 1e9;
constexpr size_t kNameBytesMax = 40;

constexpr Bound kBounds[] = {
    {"priority", -1000, 1000},
    {"workers.min", 1, 4096},
    {"workers.max", 1, 4096},
    {"model.hidden_size", 1, 16384},
    {"model.num_hidden_layers", 1, 256},
    {"model.num_attention_heads", 1, 256},
    {"model.intermediate_size", 1, 131072},
    {"model.max_position_embeddings", 8, 65536},
    {"model.type_vocab_size", 1, 16},
    {"model.hidden_dropout", 0, 1, false, true},
    {"model.attention_dropout", 0, 1, false, true},
    {"model.layer_norm_eps", 0, 0.1, true, false},
    {"model.initializer_range", 0, 1, true, false},
    {"model.vocab_multiple", 1, 4096},
    // A dataloader counts the tokens of a row in 16 bits.
    {"data.max_seq_len", 8, 65535},
    {"data.masking.probability", 0, 1, true, false},
    {"data.masking.mask_share", 0, 1},
    {"data.masking.random_share", 0, 1},
    {"data.masking.ngram_max", 1, 16},
    {"data.masking.max_predictions_per_seq", 0, 65536},
    {"train.steps", 1, kStepsMax},
    {"train.global_batch_size", 1, 1 << 20},
    {"train.micro_batch_size", 1, 1 << 16},
    {"train.optimizer.learning_rate", 0, 10, true, false},
    {"train.optimizer.warmup_steps", 0, kStepsMax},
    {"train.optimizer.beta1", 0, 1, false, true},
    {"train.optimizer.beta2", 0, 1, false, true},
    {"train.optimizer.epsilon", 0, 1, true, false},
    {"train.optimizer.weight_decay", 0, 1},
    {"train.optimizer.max_grad_norm", 0, 1e6},
    {"train.optimizer.warmup_share", 0, 1, false, true},
    {"train.optimizer.final_learning_rate_share", 0, 1},
    {"train.duration.rows", 1, 1e15},
    {"train.duration.epochs", 0, 1e6, true, false},
    {"train.duration.tokens", 1, 1e18},
    {"train.phases.share", 0, 1, true, false},
    {"train.phases.steps", 1, kStepsMax},
    {"train.phases.max_seq_len", 8, 65535},
    {"train.phases.global_batch_size", 1, 1 << 20},
    {"train.phases.micro_batch_size", 1, 1 << 16},
    {"train.phases.masking.probability", 0, 1, true, false},
    {"train.phases.masking.mask_share", 0, 1},
    {"train.phases.masking.random_share", 0, 1},
    {"train.phases.masking.ngram_max", 1, 16},
    {"train.phases.masking.max_predictions_per_seq", 0, 65536},
    {"train.phases.learning_rate_scale", 0, 1000, true, false},
    {"train.batch_ramp.start", 1, 1 << 20},
    {"train.batch_ramp.share", 0, 1, true, false},
    {"train.batch_ramp.stages", 1, 1000},
    {"train.log_every_steps", 1, kStepsMax},
    {"train.nonfinite_steps_max", 0, kStepsMax},
    {"validation.every_steps", 0, kStepsMax},
    {"validation.rows", 0, 1e12},
    {"validation.samples", 0, 100},
    {"validation.target_loss", 0, 100},
    {"checkpoint.every_steps", 1, kStepsMax},
    {"checkpoint.keep_last", 1, 1000},
    {"restarts.max_without_progress", 0, 1000},
    {"restarts.max", 0, 1e6},
};

bool ConsistsOf(absl::string_view text, absl::string_view characters) {
  return text.find_first_not_of(characters) == absl::string_view::npos;
}

bool IsName(absl::string_view text) {
  return !text.empty() && text.size() <= kNameBytesMax && text.front() != '-' && text.back() != '-' &&
         ConsistsOf(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
}

bool IsDigest(absl::string_view text) {
  return absl::ConsumePrefix(&text, "xxh128:") && text.size() == 32 && ConsistsOf(text, "0123456789abcdef");
}

// What a job may do without, or what says the same as another field; the rest is there once a spec is complete.
constexpr absl::string_view kOptional[] = {"preset",
                                           "data.dataset_digest",
                                           "train.steps",
                                           "train.duration",
                                           "train.duration.rows",
                                           "train.duration.epochs",
                                           "train.duration.tokens",
                                           "train.optimizer.warmup_steps",
                                           "train.optimizer.warmup_share",
                                           "train.phases.share",
                                           "train.phases.steps",
                                           "train.batch_ramp"};

bool IsOptional(absl::string_view path) {
  return std::find(std::begin(kOptional), std::end(kOptional), path) != std::end(kOptional);
}

// "train.phases.share" of "train.phases[1].share".
std::string WithoutIndex(absl::string_view path) {
  std::string plain;
  bool inside = false;
  for (const char c : path) {
    inside = inside || c == '[';
    if (!inside) plain += c;
    inside = inside && c != ']';
  }
  return plain;
}

double NumberOf(const Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return static_cast<double>(reflection.GetInt64(message, &field));
    default:
      return reflection.GetDouble(message, &field);
  }
}

std::string Describe(const Bound& bound) {
  if (!bound.min_is_open && !bound.max_is_open) return fmt::format("between {} and {}", bound.min, bound.max);
  return fmt::format("{} {} and {} {}", bound.min_is_open ? "more than" : "at least", bound.min,
                     bound.max_is_open ? "less than" : "at most", bound.max);
}

class Checker {
 public:
  Checker(const v1::JobSpec& spec, const FieldLocations& locations) : spec_(spec), locations_(locations) {}

  absl::Status Check() {
    CheckFields(spec_, "");
    CheckNames();
    CheckModel();
    CheckData();
    CheckBatches();
    CheckRecipe(spec_, [this](const std::string& path, std::string_view problem,
                              const std::vector<std::string>& related) { Report(path, problem, related); });
    return problems_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(problems_, "\n"));
  }

 private:
  // Presence, enums and bounds of every field.
  void CheckFields(const Message& message, const std::string& parent) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor& field = *message.GetDescriptor()->field(i);
      const std::string path = parent.empty() ? field.name() : absl::StrCat(parent, ".", field.name());
      if (field.is_repeated()) {
        for (int item = 0; item < reflection.FieldSize(message, &field); ++item) {
          CheckFields(reflection.GetRepeatedMessage(message, &field, item), absl::StrCat(path, "[", item, "]"));
        }
      } else if (field.message_type() != nullptr) {
        const bool left_out = IsOptional(path) && !reflection.HasField(message, &field);
        if (!left_out) CheckFields(reflection.GetMessage(message, &field), path);
      } else if (!reflection.HasField(message, &field)) {
        if (!IsOptional(WithoutIndex(path))) ReportMissing(path);
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        const int number = reflection.GetEnumValue(message, &field);
        if (number == 0 || field.enum_type()->FindValueByNumber(number) == nullptr) {
          Report(path, absl::StrCat("must be one of ", absl::StrJoin(EnumValueNames(*field.enum_type()), ", ")));
        }
      } else {
        CheckBound(message, field, path);
      }
    }
  }

  void CheckBound(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const std::string plain = WithoutIndex(path);
    for (const Bound& bound : kBounds) {
      if (plain != bound.path) continue;
      const double value = NumberOf(message, field);
      // Written so that NaN fails.
      const bool above = bound.min_is_open ? value > bound.min : value >= bound.min;
      const bool below = bound.max_is_open ? value < bound.max : value <= bound.max;
      if (!above || !below) {
        Report(path, fmt::format("must be {}; it is {}", Describe(bound), FieldText(message, field)));
      }
    }
  }

  void CheckNames() {
    if (spec_.has_name() && !IsName(spec_.name())) {
      Report("name",
             fmt::format("must be 1 to 40 lower-case letters, digits and '-', with no '-' at the ends; it is '{}'",
                         spec_.name().substr(0, 60)));
    }
    if (spec_.data().has_dataset_digest() && !IsDigest(spec_.data().dataset_digest())) {
      Report("data.dataset_digest", "must be 'xxh128:' and 32 hexadecimal digits, as `bert-data inspect` prints it");
    }
  }

  void CheckModel() {
    const v1::ModelSpec& model = spec_.model();
    if (model.hidden_size() > 0 && model.num_attention_heads() > 0 &&
        model.hidden_size() % model.num_attention_heads() != 0) {
      Report("model.hidden_size",
             fmt::format("must be divisible by model.num_attention_heads ({}); it is {}", model.num_attention_heads(),
                         model.hidden_size()),
             {"model.num_attention_heads"});
    }
    if (spec_.data().has_max_seq_len() && model.has_max_position_embeddings() &&
        spec_.data().max_seq_len() > model.max_position_embeddings()) {
      Report("data.max_seq_len",
             fmt::format("must be at most model.max_position_embeddings ({}); it is {}",
                         model.max_position_embeddings(), spec_.data().max_seq_len()),
             {"model.max_position_embeddings"});
    }
  }

  void CheckData() {
    const v1::MaskingSpec& masking = spec_.data().masking();
    // A hair above 1, so that 0.8 + 0.2 in floating point passes.
    if (masking.mask_share() + masking.random_share() > 1 + 1e-9) {
      Report("data.masking.mask_share",
             fmt::format("and data.masking.random_share together must be at most 1; they are {} and {}",
                         masking.mask_share(), masking.random_share()),
             {"data.masking.random_share"});
    }
    if (spec_.data().rows() == v1::ROW_FORMAT_SENTENCE_PAIR && spec_.model().type_vocab_size() == 1) {
      Report("model.type_vocab_size", "must be at least 2 with data.rows sentence_pair, a type for each part; it is 1",
             {"data.rows"});
    }
    if (!spec_.data().has_dataset()) return;
    const std::string& dataset = spec_.data().dataset();
    bool good = !dataset.empty() && dataset.size() <= 255;
    for (const absl::string_view part : absl::StrSplit(dataset, '/')) {
      if (part.empty() || part == "." || part == "..") good = false;
    }
    for (const char c : dataset) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\') good = false;
    }
    if (!good) {
      Report("data.dataset",
             "must be the dataset's directory relative to the dataloader's --data-root, without '..', such as "
             "'english' or 'books/v2'");
    }
  }

  void CheckBatches() {
    const v1::WorkersSpec& workers = spec_.workers();
    const v1::TrainSpec& train = spec_.train();
    if (workers.has_min() && workers.has_max() && workers.min() > workers.max()) {
      Report("workers.min", fmt::format("must be at most workers.max ({}); it is {}", workers.max(), workers.min()),
             {"workers.max"});
    }
    if (train.has_global_batch_size() && train.global_batch_size() < workers.max()) {
      Report("train.global_batch_size",
             fmt::format("must be at least workers.max ({}), a row for each; it is {}", workers.max(),
                         train.global_batch_size()),
             {"workers.max"});
    }
    const v1::OptimizerSpec& optimizer = train.optimizer();
    if (optimizer.has_warmup_steps() && optimizer.has_warmup_share()) {
      Report("train.optimizer.warmup_steps", "and train.optimizer.warmup_share are both given; give one",
             {"train.optimizer.warmup_share"});
    } else if (train.has_steps() && train.steps() > 0 && optimizer.warmup_steps() >= train.steps()) {
      Report("train.optimizer.warmup_steps",
             fmt::format("must be less than train.steps ({}); it is {}", train.steps(), optimizer.warmup_steps()),
             {"train.steps"});
    }
  }

  void ReportMissing(const std::string& path) {
    std::string problem = "is required";
    if (path == "data.dataset") {
      absl::StrAppend(&problem, ": the dataset's directory relative to the dataloader's --data-root");
    } else if (!spec_.has_preset()) {
      absl::StrAppend(&problem, "; give it, or a preset (", absl::StrJoin(PresetNames(), ", "), ")");
    }
    Report(path, problem);
  }

  // The place where the field, else one of `related`, else the nearest field around it was given.
  std::string LocationOf(const std::string& path, const std::vector<std::string>& related) const {
    if (const auto at = locations_.find(path); at != locations_.end()) return at->second;
    for (const std::string& other : related) {
      if (const auto at = locations_.find(other); at != locations_.end()) return at->second;
    }
    std::string around = path;
    while (!around.empty()) {
      const size_t dot = around.rfind('.');
      around = dot == std::string::npos ? "" : around.substr(0, dot);
      if (const auto at = locations_.find(around); at != locations_.end()) return at->second;
    }
    return "";
  }

  void Report(const std::string& path, std::string_view problem, const std::vector<std::string>& related = {}) {
    const std::string location = LocationOf(path, related);
    problems_.push_back(fmt::format("{}{}{}: {}", location, location.empty() ? "" : ": ", path, problem));
  }

  const v1::JobSpec& spec_;
  const FieldLocations& locations_;
  std::vector<std::string> problems_;
};

}  // namespace

absl::Status Validate(const v1::JobSpec& spec, const FieldLocations& locations) {
  return Checker(spec, locations).Check();
}

}  // namespace bert::spec
