"""What ROOT does for the analysis benchmark, in a Python of its own that has ROOT and NumPy.

python _root.py write columns.npz file.root     std::vector branches
python _root.py serve                           RDataFrame, whenever it is told to
"""

import json
import sys
import time
import warnings

warnings.simplefilter("ignore")  # its wheels say that they are young

import numpy as np  # noqa: E402
import ROOT  # type: ignore[import-not-found]  # noqa: E402

WRITE = """
void write_vectors(const char* path, long events, std::vector<std::string> names,
           std::vector<long> values, std::vector<long> counts) {
  TFile file(path, "RECREATE", "", 505);
  TTree tree("CollectionTree", "CollectionTree");
  tree.SetAutoFlush(20000);
  std::vector<std::vector<float>> rows(names.size());
  std::vector<long> at(names.size(), 0);
  for (size_t i = 0; i < names.size(); i++) tree.Branch(names[i].c_str(), &rows[i]);
  for (long event = 0; event < events; event++) {
    for (size_t i = 0; i < names.size(); i++) {
      auto number = reinterpret_cast<int*>(counts[i])[event];
      auto begin = reinterpret_cast<float*>(values[i]) + at[i];
      rows[i].assign(begin, begin + number);
      at[i] += number;
    }
    tree.Fill();
  }
  tree.Write();
}
"""
ANALYSE = """
using Floats = ROOT::RVec<float>;
double mass(const Floats& pt, const Floats& eta, const Floats& phi, const Floats& charge) {
  int first = -1, second = -1, good = 0;
  for (size_t i = 0; i < pt.size(); i++)
    if (pt[i] > 15e3 && std::abs(eta[i]) < 2.47) { (good++ ? second : first) = i; }
  if (good != 2 || charge[first] * charge[second] >= 0) return -1;
  return std::sqrt(2.0 * pt[first] * pt[second] * (std::cosh(double(eta[first]) - eta[second])
                   - std::cos(double(phi[first]) - phi[second]))) / 1e3;
}
"""


def write(source: str, path: str) -> None:
    """Write a tree of vectors."""
    ROOT.gInterpreter.Declare(WRITE)
    found = dict(np.load(source))
    names = [name for name in found if not name.startswith("n")]
    values = [found[name].ctypes.data for name in names]
    counts = [found["n" + name].ctypes.data for name in names]
    ROOT.write_vectors(path, len(found["n" + names[0]]), names, values, counts)


def analyse(paths: list[str]) -> dict[str, float]:
    """Fill the histograms of the Z peak."""
    wall, cpu = time.perf_counter(), time.process_time()
    frame = ROOT.RDataFrame("CollectionTree", paths)
    events, histograms = frame.Count(), []
    for name in ("Electrons", "Muons"):
        parts = ", ".join(f"Analysis{name}AuxDyn.{x}" for x in ("pt", "eta", "phi", "charge"))
        pairs = frame.Define(f"mass{name}", f"mass({parts})").Filter(f"mass{name} >= 0")
        histograms.append(pairs.Histo1D((name, "", 160, 40.0, 140.0), f"mass{name}"))
    number = sum(histogram.GetEntries() for histogram in histograms)
    return {
        "events": events.GetValue(),
        "pairs": int(number),
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
    }


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(*sys.argv[2:])
    else:
        ROOT.gInterpreter.Declare(ANALYSE)
        for line in sys.stdin:
            print(json.dumps(analyse(json.loads(line)["files"])), flush=True)
