// What must agree among a training's length, its phases and the growth of its batch.
#ifndef BERT_COMMON_SPEC_RECIPE_CHECK_H_
#define BERT_COMMON_SPEC_RECIPE_CHECK_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bert/v1/job_spec.pb.h"

namespace bert::spec {

// Told of each problem: the field's path, what is wrong with it, and other fields that may be the ones to blame.
using ReportProblem =
    std::function<void(const std::string& path, std::string_view problem, const std::vector<std::string>& related)>;

// `spec` is complete. Bounds of single fields are checked elsewhere.
void CheckRecipe(const v1::JobSpec& spec, const ReportProblem& report);

}  // namespace bert::spec

#endif  // BERT_COMMON_SPEC_RECIPE_CHECK_H_
