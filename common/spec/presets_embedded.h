// The files of presets/, embedded by CMake.
#ifndef BERT_COMMON_SPEC_PRESETS_EMBEDDED_H_
#define BERT_COMMON_SPEC_PRESETS_EMBEDDED_H_

#include <map>
#include <string_view>

namespace bert::spec {

// Preset name -> YAML. Sorted; lives as long as the process.
const std::map<std::string_view, std::string_view>& EmbeddedPresets();

// presets/defaults.yaml, which overlays no preset but fills what is left.
std::string_view EmbeddedDefaults();

}  // namespace bert::spec

#endif  // BERT_COMMON_SPEC_PRESETS_EMBEDDED_H_
