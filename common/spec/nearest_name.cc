#include "common/spec/nearest_name.h"

#include <algorithm>

namespace bert::spec {

int EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::vector<int>> distance(a.size() + 1, std::vector<int>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        distance[i][j] = static_cast<int>(i + j);
        continue;
      }
      const int replace = distance[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      distance[i][j] = std::min({replace, distance[i - 1][j] + 1, distance[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
      }
    }
  }
  return distance[a.size()][b.size()];
}

std::optional<std::string> NearestName(std::string_view wrong, const std::vector<std::string>& names) {
  // A long value is no name; comparing it would only cost time.
  constexpr size_t kLongestName = 64;
  if (wrong.size() > kLongestName) return std::nullopt;
  std::optional<std::string> best;
  int best_distance = 0;
  for (const std::string& name : names) {
    const int allowed = std::max<int>(2, static_cast<int>(std::max(wrong.size(), name.size()) / 3));
    const int distance = EditDistance(wrong, name);
    // Two letters that share nothing are not alike.
    if (distance > allowed || distance >= static_cast<int>(std::max(wrong.size(), name.size()))) continue;
    if (!best || distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace bert::spec
