#include "worker/model/masked_lm.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

#include <exception>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"
#include "worker/model/packing.h"

namespace bert::model {
namespace {

constexpr double kAbsentBias = -30'000;

absl::Status CheckTensor(const char* name, const at::Tensor& tensor, at::ScalarType dtype, int64_t dimensions) {
  if (tensor.defined() && tensor.scalar_type() == dtype && tensor.dim() == dimensions) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is not a ", dimensions, "-dimensional tensor of ", c10::toString(dtype)));
}

absl::Status CheckBounds(const char* name, const at::Tensor& tensor, int64_t min, int64_t max) {
  if (tensor.numel() == 0) return absl::OkStatus();
  const int64_t low = tensor.min().item<int64_t>();
  const int64_t high = tensor.max().item<int64_t>();
  if (low >= min && high <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " holds ", low < min ? low : high, "; the model takes ", min, " to ", max));
}

// Segments are numbered from 0 along a row, each in one piece, and padding comes after them. Masked positions are on
// tokens.
absl::Status CheckSegments(const at::Tensor& segments_in, const at::Tensor& masked_positions) {
  const at::Tensor segments = segments_in.to(at::kCPU).contiguous();
  const int32_t* segment = segments.const_data_ptr<int32_t>();
  const int64_t seq = segments.size(1);
  for (int64_t i = 0; i < segments.numel(); ++i) {
    const int32_t before = i % seq == 0 ? -1 : segment[i - 1];
    const bool begins = segment[i] == before + 1 && (before >= 0 || i % seq == 0);
    if (!begins && segment[i] != before && segment[i] != -1) {
      return absl::InvalidArgumentError(
          absl::StrCat("segments: row ", i / seq, " has ", segment[i], " after ", before, " in column ", i % seq));
    }
  }
  const at::Tensor positions = masked_positions.to(at::kCPU).contiguous();
  for (int64_t i = 0; i < positions.numel(); ++i) {
    const int64_t position = positions.const_data_ptr<int64_t>()[i];
    if (segment[position] >= 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("masked position ", position, " is padding"));
  }
  return absl::OkStatus();
}

int64_t MaskedTokens(const MaskedBatch& batch) {
  return batch.masked_tokens >= 0 ? batch.masked_tokens : batch.labels.numel();
}

}  // namespace

absl::Status ValidateBatch(const MaskedBatch& batch, const ModelConfig& config) {
  RETURN_IF_ERROR(CheckTensor("input_ids", batch.input_ids, at::kLong, 2));
  RETURN_IF_ERROR(CheckTensor("position_ids", batch.position_ids, at::kLong, 2));
  RETURN_IF_ERROR(CheckTensor("segments", batch.segments, at::kInt, 2));
  RETURN_IF_ERROR(CheckTensor("masked_positions", batch.masked_positions, at::kLong, 1));
  RETURN_IF_ERROR(CheckTensor("labels", batch.labels, at::kLong, 1));
  if (batch.position_ids.sizes() != batch.input_ids.sizes() || batch.segments.sizes() != batch.input_ids.sizes()) {
    return absl::InvalidArgumentError("input_ids, position_ids and segments differ in shape");
  }
  if (batch.labels.sizes() != batch.masked_positions.sizes()) {
    return absl::InvalidArgumentError(
        absl::StrCat(batch.masked_positions.size(0), " masked positions but ", batch.labels.size(0), " labels"));
  }
  RETURN_IF_ERROR(CheckBounds("input_ids", batch.input_ids, 0, config.vocab_size - 1));
  RETURN_IF_ERROR(CheckBounds("position_ids", batch.position_ids, 0, config.max_position_embeddings - 1));
  RETURN_IF_ERROR(CheckBounds("masked_positions", batch.masked_positions, 0, batch.input_ids.numel() - 1));
  RETURN_IF_ERROR(CheckBounds("labels", batch.labels, 0, config.vocab_size - 1));
  if (batch.token_type_ids.defined()) {
    RETURN_IF_ERROR(CheckTensor("token_type_ids", batch.token_type_ids, at::kLong, 2));
    if (batch.token_type_ids.sizes() != batch.input_ids.sizes()) {
      return absl::InvalidArgumentError("input_ids and token_type_ids differ in shape");
    }
    RETURN_IF_ERROR(CheckBounds("token_type_ids", batch.token_type_ids, 0, config.type_vocab_size - 1));
  }
  if (batch.next_sentence_labels.defined()) {
    RETURN_IF_ERROR(CheckTensor("next_sentence_labels", batch.next_sentence_labels, at::kLong, 1));
    if (batch.next_sentence_labels.size(0) != batch.input_ids.size(0)) {
      return absl::InvalidArgumentError(absl::StrCat(batch.input_ids.size(0), " rows but ",
                                                     batch.next_sentence_labels.size(0), " next_sentence_labels"));
    }
    RETURN_IF_ERROR(CheckBounds("next_sentence_labels", batch.next_sentence_labels, 0, 1));
  }
  return CheckSegments(batch.segments, batch.masked_positions);
}

MaskedBatch ToDevice(MaskedBatch batch, at::Device device) {
  if (device.is_cpu()) return batch;
  if (batch.segments_max == 0) batch.segments_max = CountSegments(batch.segments);
  for (at::Tensor* tensor : {&batch.input_ids, &batch.position_ids, &batch.segments, &batch.masked_positions,
                             &batch.labels, &batch.token_type_ids, &batch.next_sentence_labels}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return batch;
}

absl::StatusOr<std::unique_ptr<MaskedLm>> MaskedLm::Create(const ModelConfig& config, Precision precision,
                                                           at::Device device) {
  RETURN_IF_ERROR(Validate(config));
  try {
    const Layout layout = MakeLayout(config);
    auto parameters = std::make_unique<Parameters>(layout.infos, precision, device);
    return std::unique_ptr<MaskedLm>(new MaskedLm(config, layout, std::move(parameters)));
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot allocate the model on ", device.str(), ": ", error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot allocate the model on ", device.str(), ": ", error.what()));
  }
}

MaskedLm::MaskedLm(const ModelConfig& config, const Layout& layout, std::unique_ptr<Parameters> parameters)
    : config_(config),
      parameters_(std::move(parameters)),
      encoder_(config, layout, *parameters_),
      transform_(MakeLinear(*parameters_, layout.transform)),
      transform_norm_(MakeNorm(*parameters_, layout.transform_norm)),
      decoder_(MakeLinear(*parameters_, {layout.word_embeddings, layout.decoder_bias})),
      head_offset_(layout.infos.at(layout.transform.weight).offset) {
  // Padding of the vocabulary: embeddings of 0, and a bias at which a softmax in fp32 has reached its end, 0 or below
  // 1e-37. So small a gradient moves nothing: both stay as they are.
  const ParameterInfo& bias = parameters_->infos()[static_cast<size_t>(layout.decoder_bias)];
  parameters_->MasterView(layout.decoder_bias).narrow(0, config.vocab_size, bias.padding_rows).fill_(kAbsentBias);
  parameters_->RefreshCompute();
  if (config.next_sentence) {
    next_sentence_.emplace(MakeLinear(*parameters_, layout.pooler), MakeLinear(*parameters_, layout.next_sentence));
  }
  std::set<int64_t> products = {layout.word_embeddings, layout.transform.weight};
  for (const LayerIndex& layer : layout.layers) {
    // Query, key and value are one product.
    for (int64_t part = 0; part < 3; ++part) products.insert(layer.query_key_value.weight + part);
    products.insert({layer.attention_output.weight, layer.intermediate.weight, layer.output.weight});
  }
  for (int64_t i = 0; i < static_cast<int64_t>(layout.infos.size()); ++i) {
    if (!products.contains(i)) sums_.push_back(i);
  }
}

void MaskedLm::InitializeWeights(uint64_t seed) {
  at::AutoDispatchBelowADInplaceOrView no_autograd;
  // Drawn on the CPU, tensor after tensor: normal_ with a generator is serial there, and devices agree.
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const std::vector<ParameterInfo>& infos = parameters_->infos();
  for (size_t i = 0; i < infos.size(); ++i) {
    at::Tensor master = infos[i].WithoutPadding(parameters_->MasterView(static_cast<int64_t>(i)));
    if (infos[i].decay) {
      at::Tensor values = at::empty(master.sizes(), at::kFloat);
      values.normal_(0, config_.initializer_range, generator);
      master.copy_(values);
    } else {
      const bool norm_weight = infos[i].name.ends_with(".weight");
      master.fill_(norm_weight ? 1.0 : 0.0);
    }
  }
  parameters_->RefreshCompute();
}

void MaskedLm::ZeroSums() {
  for (const int64_t index : sums_) {
    const ParameterInfo& info = parameters_->infos()[static_cast<size_t>(index)];
    parameters_->grad().narrow(0, info.offset, info.size).zero_();
  }
}

at::Tensor MaskedLm::HeadForward(const at::Tensor& encoded, const at::Tensor& masked_positions, HeadTape* tape) const {
  HeadTape local;
  HeadTape& saved = tape == nullptr ? local : *tape;
  saved.rows = encoded.index_select(0, masked_positions);
  saved.transformed = MatMul(saved.rows, transform_.weight);
  saved.normed = AddDropoutNorm(BiasGelu(saved.transformed, transform_.bias, config_.activation), {}, TransformSite());
  return MatMul(saved.normed.output, decoder_.weight);
}

at::Tensor MaskedLm::HeadBackward(const at::Tensor& d_logits, const HeadTape& tape, const at::Tensor& encoded,
                                  const at::Tensor& masked_positions, GradMode mode) const {
  NormedInflow inflow;
  inflow.d_output = MatMulBackward(d_logits, tape.normed.output, decoder_.weight, mode);
  at::Tensor d = AddDropoutNormBackward(inflow, tape.normed, TransformSite()).d_sum;
  d = BiasGeluBackward(std::move(d), tape.transformed, transform_.bias, config_.activation);
  d = MatMulBackward(d, tape.rows, transform_.weight, mode);
  return at::zeros_like(encoded).index_add_(0, masked_positions, d);
}

NormSite MaskedLm::TransformSite() const {
  return {.norm = &transform_norm_, .eps = config_.layer_norm_eps, .bias = nullptr, .dropout = {}};
}

bool MaskedLm::HasNextSentence(const MaskedBatch& batch) const {
  return next_sentence_.has_value() && batch.next_sentence_labels.defined();
}

LossSums MaskedLm::ForwardBackward(const MaskedBatch& batch, PassSeed dropout_seed, double next_sentence_weight,
                                   const BackwardPass& asked) {
  at::AutoDispatchBelowADInplaceOrView no_autograd;
  if (dropout_seed.on_device == nullptr) SeedAttentionDropout(parameters_->master().device(), dropout_seed.value);
  BackwardPass pass = asked;
  if (pass.weights == GradMode::kReplace && !parameters_->grad().is_cpu()) {
    // One kernel for all zeros is cheaper there than one for each of the sums.
    parameters_->ZeroGrad();
    pass.weights = GradMode::kAdd;
  }
  if (pass.weights == GradMode::kReplace) ZeroSums();
  const PackedBatch packed = Pack(batch, config_);
  Encoder::Tape tape{.dropout_seed = dropout_seed, .first = {}, .layers = {}};
  HeadTape head;
  const at::Tensor encoded = encoder_.Forward(packed.input, &tape);
  CrossEntropyResult loss = CrossEntropy(HeadForward(encoded, packed.masked_positions, &head), decoder_.bias,
                                         batch.labels, /*with_gradient=*/true);
  at::Tensor d_encoded = HeadBackward(loss.d_logits, head, encoded, packed.masked_positions, pass.weights);
  LossSums sums = {.nll = loss.nll, .masked_tokens = MaskedTokens(batch), .correct = 0};
  if (HasNextSentence(batch)) {
    sums.next_sentence = next_sentence_->ForwardBackward(encoded, packed.first_tokens, batch.next_sentence_labels,
                                                         next_sentence_weight, d_encoded);
  }
  if (pass.finished_from) pass.finished_from(head_offset_);
  encoder_.Backward(std::move(d_encoded), packed.input, tape, pass);
  return sums;
}

LossSums MaskedLm::Evaluate(const MaskedBatch& batch) {
  at::AutoDispatchBelowADInplaceOrView no_autograd;
  const PackedBatch packed = Pack(batch, config_);
  const at::Tensor encoded = encoder_.Forward(packed.input, nullptr);
  at::Tensor logits = HeadForward(encoded, packed.masked_positions, nullptr);
  const int64_t correct = (logits + decoder_.bias.value).argmax(1).eq(batch.labels).sum().item<int64_t>();
  const CrossEntropyResult loss = CrossEntropy(std::move(logits), decoder_.bias, batch.labels, /*with_gradient=*/false);
  LossSums sums = {.nll = loss.nll, .masked_tokens = MaskedTokens(batch), .correct = correct};
  if (HasNextSentence(batch)) {
    sums.next_sentence = next_sentence_->Evaluate(encoded, packed.first_tokens, batch.next_sentence_labels);
  }
  return sums;
}

at::Tensor MaskedLm::NextSentenceLogits(const MaskedBatch& batch) {
  at::AutoDispatchBelowADInplaceOrView no_autograd;
  BERT_CHECK(next_sentence_.has_value()) << "a model without a next-sentence head";
  const PackedBatch packed = Pack(batch, config_);
  return next_sentence_->Logits(encoder_.Forward(packed.input, nullptr), packed.first_tokens);
}

at::Tensor MaskedLm::Logits(const MaskedBatch& batch) {
  at::AutoDispatchBelowADInplaceOrView no_autograd;
  const PackedBatch packed = Pack(batch, config_);
  const at::Tensor logits = HeadForward(encoder_.Forward(packed.input, nullptr), packed.masked_positions, nullptr);
  return (logits.to(at::kFloat) + decoder_.bias.value).narrow(1, 0, config_.vocab_size);
}

}  // namespace bert::model
