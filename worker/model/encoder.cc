#include "worker/model/encoder.h"

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
      embeddings_{.word = MasterWeight(parameters, layout.word_embeddings),
                  .position = MasterWeight(parameters, layout.position_embeddings),
                  .token_type = MasterWeight(parameters, layout.token_type_embeddings)},
      first_norm_(MakeNorm(parameters, layout.first_norm)) {
  for (const LayerIndex& index : layout.layers) {
    const Affine query = MakeLinear(parameters, index.query_key_value);
    layers_.push_back({.query_key_value = {Stacked(query.weight, 3), Stacked(query.bias, 3)},
                       .attention_output = MakeLinear(parameters, index.attention_output),
                       .intermediate = MakeLinear(parameters, index.intermediate),
                       .output = MakeLinear(parameters, index.output),
                       .norm_after_attention = MakeNorm(parameters, index.norm_after_attention),
                       .norm_after_output = MakeNorm(parameters, index.norm_after_output),
                       .first_weight = parameters.infos().at(index.query_key_value.weight).offset});
  }
}

Dropout Encoder::DropoutAt(const Tape* tape, double probability, uint64_t site) const {
  if (tape == nullptr) return {};
  const PassSeed& seed = tape->dropout_seed;
  return {.probability = probability, .key = DropoutKey(seed.value, site), .seed = seed.on_device, .site = site};
}

NormSite Encoder::SiteAfter(const Affine& linear, const Affine& norm, const Tape* tape, uint64_t site) const {
  return {.norm = &norm,
          .eps = config_.layer_norm_eps,
          .bias = &linear.bias,
          .dropout = DropoutAt(tape, config_.hidden_dropout, site)};
}

NormedInflow Encoder::Inflow(at::Tensor d_output, at::Tensor d_residual) const {
  if (PreLn()) return {.d_output = std::move(d_output), .d_output_too = {}, .d_sum = std::move(d_residual)};
  return {.d_output = std::move(d_output), .d_output_too = std::move(d_residual), .d_sum = {}};
}

Normed Encoder::ForwardEmbeddings(const EncoderInput& input, const Tape* tape) const {
  const Dropout dropout = DropoutAt(tape, config_.hidden_dropout, kEmbeddingSite);
  const NormSite site{.norm = &first_norm_, .eps = config_.layer_norm_eps, .bias = nullptr, .dropout = {}};
  at::Tensor embedded = Embed(input.ids, embeddings_, dtype_);
  if (PreLn()) ApplyDropout(embedded, dropout);
  Normed normed = AddDropoutNorm(std::move(embedded), {}, site);
  if (!PreLn()) ApplyDropout(normed.output, dropout);
  return normed;
}

at::Tensor Encoder::Forward(const EncoderInput& input, Tape* tape) const {
  Normed normed = ForwardEmbeddings(input, tape);
  if (tape != nullptr) tape->first = normed;
  uint64_t site = 0;
  for (const Layer& layer : layers_) {
    LayerTape saved;
    saved.query_key_value = QueryKeyValue(normed.output, layer.query_key_value, input.attention);
    saved.attended = Attention(saved.query_key_value, layer.query_key_value.bias, input.attention,
                               DropoutAt(tape, config_.attention_dropout, site + kProbabilitiesSite));
    saved.after_attention = AddDropoutNorm(
        MatMul(saved.attended.output, layer.attention_output.weight), Residual(normed),
        SiteAfter(layer.attention_output, layer.norm_after_attention, tape, site + kAttentionOutputSite));
    saved.intermediate = MatMul(saved.after_attention.output, layer.intermediate.weight);
    saved.activated = BiasGelu(saved.intermediate, layer.intermediate.bias, config_.activation);
    saved.after_output = AddDropoutNorm(MatMul(saved.activated, layer.output.weight), Residual(saved.after_attention),
                                        SiteAfter(layer.output, layer.norm_after_output, tape, site + kOutputSite));
    normed = saved.after_output;
    if (tape != nullptr) tape->layers.push_back(std::move(saved));
    site += kSitesPerLayer;
  }
  return normed.output;
}

void Encoder::Backward(at::Tensor d_output, const EncoderInput& input, const Tape& tape,
                       const BackwardPass& pass) const {
  at::Tensor d_residual;
  for (size_t i = layers_.size(); i-- > 0;) {
    const Layer& layer = layers_[i];
    const LayerTape& saved = tape.layers[i];
    const Normed& before = i == 0 ? tape.first : tape.layers[i - 1].after_output;
    const uint64_t site = i * kSitesPerLayer;

    NormedGrad grad =
        AddDropoutNormBackward(Inflow(std::move(d_output), std::move(d_residual)), saved.after_output,
                               SiteAfter(layer.output, layer.norm_after_output, &tape, site + kOutputSite));
    at::Tensor d = MatMulBackward(grad.d_branch, saved.activated, layer.output.weight, pass.weights);
    d = BiasGeluBackward(std::move(d), saved.intermediate, layer.intermediate.bias, config_.activation);
    d = MatMulBackward(d, saved.after_attention.output, layer.intermediate.weight, pass.weights);

    grad = AddDropoutNormBackward(
        Inflow(std::move(d), std::move(grad.d_sum)), saved.after_attention,
        SiteAfter(layer.attention_output, layer.norm_after_attention, &tape, site + kAttentionOutputSite));
    d = MatMulBackward(grad.d_branch, saved.attended.output, layer.attention_output.weight, pass.weights);
    d = AttentionBackward(d, saved.query_key_value, layer.query_key_value.bias, saved.attended, input.attention,
                          DropoutAt(&tape, config_.attention_dropout, site + kProbabilitiesSite));
    d_output = MatMulBackward(d, before.output, layer.query_key_value.weight, pass.weights);
    d_residual = grad.d_sum;
    // A pre-LN layer's first LayerNorm, which lies before it, is finished with the layer below.
    if (pass.finished_from) pass.finished_from(layer.first_weight);
  }
  BackwardEmbeddings(std::move(d_output), d_residual, input, tape);
  if (pass.finished_from) pass.finished_from(0);
}

void Encoder::BackwardEmbeddings(at::Tensor d_output, const at::Tensor& d_residual, const EncoderInput& input,
                                 const Tape& tape) const {
  const Dropout dropout = DropoutAt(&tape, config_.hidden_dropout, kEmbeddingSite);
  const NormSite site{.norm = &first_norm_, .eps = config_.layer_norm_eps, .bias = nullptr, .dropout = {}};
  at::Tensor d_embedded;
  if (PreLn()) {
    d_embedded = AddDropoutNormBackward(Inflow(std::move(d_output), d_residual), tape.first, site).d_sum;
    ApplyDropout(d_embedded, dropout);
  } else {
    d_output.add_(d_residual);
    ApplyDropout(d_output, dropout);
    d_embedded = AddDropoutNormBackward(Inflow(std::move(d_output), {}), tape.first, site).d_sum;
  }
  EmbedBackward(d_embedded, input.ids, embeddings_);
}

}  // namespace bert::model
