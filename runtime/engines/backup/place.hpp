// Does a plan's work where its database is: here, or through the server's engine in a throw-away container of an empty
// image of our own, into which this program and the plan's scratch folder are mounted. So no image of the app has to be
// there, and what the app's next version is called does not matter.
#pragma once

#include "backup/plan.hpp"

namespace deployrun::backup {

class Workplace {
 public:
  explicit Workplace(const Plan& plan) : plan_(plan) {}

  /// do_work's `copy` into the file `name` of the plan's scratch folder.
  core::Result<Json> copy(const std::string& name, const Stop& stop);
  /// do_work's `load` of a file of the plan's scratch folder.
  core::Result<Json> load(const std::string& name, const std::string& sha256, const Stop& stop);
  core::Result<Json> check(const Stop& stop);

 private:
  core::Result<Json> work(Json task, const Stop& stop);
  core::Result<Json> work_inside(const Json& task, const Stop& stop);
  core::Result<core::Unit> provide_image(const std::string& engine, const Stop& stop);

  const Plan& plan_;
};

}  // namespace deployrun::backup
