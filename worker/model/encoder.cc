#include "worker/model/encoder.h"

#include <ATen/TensorOperators.h>

#include <utility>

namespace bert::model {
namespace {

constexpr uint64_t kEmbeddingSite = 0;
constexpr uint64_t kProbabilitiesSite = 1;  // In a layer: these plus three times the layer's number.
constexpr uint64_t kAttentionOutputSite = 2;
constexpr uint64_t kOutputSite = 3;
constexpr uint64_t kSitesPerLayer = 3;

Weight ComputeWeight(const Parameters& parameters, int64_t index) {
  return {parameters.ComputeView(index), parameters.GradView(index)};
}

Weight MasterWeight(const Parameters& parameters, int64_t index) {
  return {parameters.MasterView(index), parameters.GradView(index)};
}

// The layout puts query, key and value side by side, so one view covers the three.
Weight Stacked(const Weight& first, int64_t count) {
  std::vector<int64_t> sizes = first.value.sizes().vec();
  sizes[0] *= count;
  const std::vector<int64_t> strides = first.value.strides().vec();
  return {first.value.as_strided(sizes, strides), first.grad.as_strided(sizes, strides)};
}

}  // namespace

Affine MakeLinear(const Parameters& parameters, AffineIndex index) {
  return {ComputeWeight(parameters, index.weight), ComputeWeight(parameters, index.bias)};
}

Affine MakeNorm(const Parameters& parameters, AffineIndex index) {
  return {MasterWeight(parameters, index.weight), MasterWeight(parameters, index.bias)};
}

Encoder::Encoder(const ModelConfig& config, const Layout& layout, const Parameters& parameters)
    : config_(config),
      dtype_(parameters.precision() == Precision::kBf16 ? at::kBFloat16 : at::kFloat),
      word_embeddings_(MasterWeight(parameters, layout.word_embeddings)),
      position_embeddings_(MasterWeight(parameters, layout.position_embeddings)),
      token_type_embeddings_(MasterWeight(parameters, layout.token_type_embeddings)),
      first_norm_(MakeNorm(parameters, layout.first_norm)) {
  for (const LayerIndex& index : layout.layers) {
    const Affine query = MakeLinear(parameters, index.query_key_value);
    layers_.push_back({.query_key_value = {Stacked(query.weight, 3), Stacked(query.bias, 3)},
                       .attention_output = MakeLinear(parameters, index.attention_output),
                       .intermediate = MakeLinear(parameters, index.intermediate),
                       .output = MakeLinear(parameters, index.output),
                       .norm_after_attention = MakeNorm(parameters, index.norm_after_attention),
                       .norm_after_output = MakeNorm(parameters, index.norm_after_output)});
  }
}

AttentionShape Encoder::Shape(const EncoderInput& input) const {
  return {.rows = input.input_ids.size(0),
          .seq = input.input_ids.size(1),
          .heads = config_.num_attention_heads,
          .head_size = config_.hidden_size / config_.num_attention_heads};
}

Dropout Encoder::DropoutAt(const Tape* tape, double probability, uint64_t site) const {
  if (tape == nullptr) return {};
  return {.probability = probability, .key = DropoutKey(tape->dropout_seed, site)};
}

Normed Encoder::ForwardEmbeddings(const EncoderInput& input, const Tape* tape) const {
  const Dropout dropout = DropoutAt(tape, config_.hidden_dropout, kEmbeddingSite);
  at::Tensor embedded = Embed(input.input_ids, input.position_ids, word_embeddings_.value, position_embeddings_.value,
                              token_type_embeddings_.value)
                            .to(dtype_);
  if (PreLn()) ApplyDropout(embedded, dropout);
  Normed normed = AddDropoutNorm(std::move(embedded), {}, {}, first_norm_, config_.layer_norm_eps);
  if (!PreLn()) ApplyDropout(normed.output, dropout);
  return normed;
}

at::Tensor Encoder::Forward(const EncoderInput& input, Tape* tape) const {
  const AttentionShape shape = Shape(input);
  Normed normed = ForwardEmbeddings(input, tape);
  if (tape != nullptr) tape->first = normed;
  uint64_t site = 0;
  for (const Layer& layer : layers_) {
    LayerTape saved;
    const Dropout dropout = DropoutAt(tape, config_.attention_dropout, site + kProbabilitiesSite);
    saved.query_key_value = Linear(normed.output, layer.query_key_value);
    saved.attended = Attention(saved.query_key_value, shape, input.segments, dropout);
    saved.after_attention = AddDropoutNorm(Linear(saved.attended.output, layer.attention_output), Residual(normed),
                                           DropoutAt(tape, config_.hidden_dropout, site + kAttentionOutputSite),
                                           layer.norm_after_attention, config_.layer_norm_eps);
    saved.intermediate = Linear(saved.after_attention.output, layer.intermediate);
    saved.activated = Gelu(saved.intermediate, config_.activation);
    saved.after_output = AddDropoutNorm(Linear(saved.activated, layer.output), Residual(saved.after_attention),
                                        DropoutAt(tape, config_.hidden_dropout, site + kOutputSite),
                                        layer.norm_after_output, config_.layer_norm_eps);
    normed = saved.after_output;
    if (tape != nullptr) tape->layers.push_back(std::move(saved));
    site += kSitesPerLayer;
  }
  return normed.output;
}

// The residual branch leaves a Normed at its sum (pre-LN) or at its output (post-LN).
NormedGrad Encoder::NormBackward(const at::Tensor& d_output, const at::Tensor& d_residual, const Normed& normed,
                                 const Dropout& dropout, const Affine& norm) const {
  if (PreLn() || !d_residual.defined()) return AddDropoutNormBackward(d_output, d_residual, normed, dropout, norm);
  return AddDropoutNormBackward(d_output + d_residual, {}, normed, dropout, norm);
}

void Encoder::Backward(at::Tensor d_output, const EncoderInput& input, const Tape& tape) const {
  const AttentionShape shape = Shape(input);
  at::Tensor d_residual;
  for (size_t i = layers_.size(); i-- > 0;) {
    const Layer& layer = layers_[i];
    const LayerTape& saved = tape.layers[i];
    const Normed& before = i == 0 ? tape.first : tape.layers[i - 1].after_output;
    const uint64_t site = i * kSitesPerLayer;

    NormedGrad grad =
        NormBackward(d_output, d_residual, saved.after_output,
                     DropoutAt(&tape, config_.hidden_dropout, site + kOutputSite), layer.norm_after_output);
    at::Tensor d = LinearBackward(grad.d_branch, saved.activated, layer.output);
    d = GeluBackward(d, saved.intermediate, config_.activation);
    d = LinearBackward(d, saved.after_attention.output, layer.intermediate);

    grad =
        NormBackward(d, grad.d_sum, saved.after_attention,
                     DropoutAt(&tape, config_.hidden_dropout, site + kAttentionOutputSite), layer.norm_after_attention);
    d = LinearBackward(grad.d_branch, saved.attended.output, layer.attention_output);
    d = AttentionBackward(d, saved.query_key_value, saved.attended, shape, input.segments,
                          DropoutAt(&tape, config_.attention_dropout, site + kProbabilitiesSite));
    d_output = LinearBackward(d, before.output, layer.query_key_value);
    d_residual = grad.d_sum;
  }
  BackwardEmbeddings(std::move(d_output), d_residual, input, tape);
}

void Encoder::BackwardEmbeddings(at::Tensor d_output, const at::Tensor& d_residual, const EncoderInput& input,
                                 const Tape& tape) const {
  const Dropout dropout = DropoutAt(&tape, config_.hidden_dropout, kEmbeddingSite);
  at::Tensor d_embedded;
  if (PreLn()) {
    d_embedded = AddDropoutNormBackward(d_output, d_residual, tape.first, {}, first_norm_).d_sum;
    ApplyDropout(d_embedded, dropout);
  } else {
    d_output = d_output + d_residual;
    ApplyDropout(d_output, dropout);
    d_embedded = AddDropoutNormBackward(d_output, {}, tape.first, {}, first_norm_).d_sum;
  }
  const at::Tensor d_rows = d_embedded.to(at::kFloat);
  at::Tensor token_type_grad = token_type_embeddings_.grad[0];
  AddRows(word_embeddings_.grad, input.input_ids.flatten(), d_rows);
  AddRows(position_embeddings_.grad, input.position_ids.flatten(), d_rows);
  token_type_grad.add_(d_rows.sum(0));
}

}  // namespace bert::model
