// Files of a few events in the layouts of other experiments, each as its own software writes it:
// names, types and splitting of the branches are those, the numbers are random.
#pragma once
#include <vector>

#include <Math/Point3D.h>
#include <Math/Vector4D.h>
#include <TClonesArray.h>
#include <TFile.h>
#include <TLorentzVector.h>
#include <TRandom3.h>
#include <TRef.h>
#include <TRefArray.h>
#include <TTree.h>

// TreeMaker: vectors of momenta and points, split, and columns named after them.

inline void treemaker(const char* path, int events) {
  TFile file(path, "recreate");
  TTree tree("PreSelection", "");
  std::vector<ROOT::Math::PtEtaPhiEVector> jets;
  std::vector<ROOT::Math::XYZPoint> vertices;
  std::vector<double> factors;
  std::vector<int> multiplicities;
  std::vector<bool> good;
  unsigned run = 1;
  ULong64_t number;
  double met;
  int count;
  tree.Branch("RunNum", &run);
  tree.Branch("EvtNum", &number);
  tree.Branch("MET", &met);
  tree.Branch("NJets", &count);
  tree.Branch("Jets", &jets);
  tree.Branch("Jets_jecFactor", &factors);
  tree.Branch("Jets_multiplicity", &multiplicities);
  tree.Branch("Jets_ID", &good);
  tree.Branch("PrimaryVertices", &vertices);
  TRandom3 random(1);
  for (int i = 0; i < events; ++i) {
    number = i;
    met = random.Exp(40);
    jets.clear(), factors.clear(), multiplicities.clear(), good.clear(), vertices.clear();
    count = random.Poisson(3);
    for (int j = 0; j < count; ++j) {
      jets.emplace_back(random.Exp(50), random.Uniform(-2.5, 2.5), random.Uniform(-3, 3), 400.);
      factors.push_back(random.Gaus(1, 0.1));
      multiplicities.push_back(random.Poisson(20));
      good.push_back(random.Rndm() > 0.2);
    }
    for (int j = random.Poisson(2); j > 0; --j)
      vertices.emplace_back(random.Gaus(), random.Gaus(), random.Gaus(0, 5));
    tree.Fill();
  }
  tree.Write();
}

// Delphes: TClonesArrays of classes, each with its size; also of what an event has once.

struct Event : TObject {
  Long64_t Number;
  Float_t ReadTime, ProcTime;
  ClassDef(Event, 1)
};
struct MissingET : TObject {
  Float_t MET, Eta, Phi;
  ClassDef(MissingET, 1)
};
struct ScalarHT : TObject {
  Float_t HT;
  ClassDef(ScalarHT, 1)
};
struct Muon : TObject {
  Float_t PT, Eta, Phi;
  Int_t Charge;
  TRef Particle;
  ClassDef(Muon, 1)
};
struct Jet : TObject {
  Float_t PT, Eta, Phi, Mass;
  UInt_t BTag;
  Float_t Tau[5];
  TRefArray Constituents;
  TLorentzVector SoftDroppedJet;
  ClassDef(Jet, 1)
};

inline void delphes(const char* path, int events) {
  TFile file(path, "recreate");
  TTree tree("Delphes", "");
  TClonesArray event("Event"), met("MissingET"), ht("ScalarHT"), muons("Muon"), jets("Jet");
  TClonesArray* arrays[] = {&event, &met, &ht, &muons, &jets};
  int sizes[5];
  for (int i = 0; i < 5; ++i) {
    TString name = arrays[i]->GetClass()->GetName();
    tree.Branch(name, &arrays[i], 64000, 99);
    tree.Branch(name + "_size", &sizes[i], name + "_size/I");
  }
  TRandom3 random(2);
  for (int i = 0; i < events; ++i) {
    for (auto array : arrays) array->Clear("C");
    auto one = (Event*)event.ConstructedAt(0);
    one->Number = i, one->ReadTime = random.Rndm(), one->ProcTime = random.Rndm();
    auto missing = (MissingET*)met.ConstructedAt(0);
    missing->MET = random.Exp(30), missing->Eta = random.Gaus(), missing->Phi = random.Gaus();
    ((ScalarHT*)ht.ConstructedAt(0))->HT = random.Exp(300);
    for (int j = 0, n = random.Poisson(1); j < n; ++j) {
      auto muon = (Muon*)muons.ConstructedAt(j);
      muon->PT = random.Exp(30), muon->Eta = random.Gaus(), muon->Phi = random.Gaus();
      muon->Charge = random.Rndm() > 0.5 ? 1 : -1;
    }
    for (int j = 0, n = random.Poisson(3); j < n; ++j) {
      auto jet = (Jet*)jets.ConstructedAt(j);
      jet->PT = random.Exp(60), jet->Eta = random.Gaus(), jet->Phi = random.Gaus();
      jet->Mass = random.Exp(9), jet->BTag = random.Rndm() > 0.8;
      for (auto& tau : jet->Tau) tau = random.Rndm();
      jet->SoftDroppedJet.SetPtEtaPhiM(jet->PT, jet->Eta, jet->Phi, jet->Mass);
    }
    for (int j = 0; j < 5; ++j) sizes[j] = arrays[j]->GetEntriesFast();
    tree.Fill();
  }
  tree.Write();
}

// FCC: podio's vectors of plain data, and indices from one collection into another.

namespace edm4hep {
struct Vector3f {
  float x, y, z;
};
struct Vector3d {
  double x, y, z;
};
struct EventHeaderData {
  int eventNumber, runNumber;
  unsigned long long timeStamp;
  float weight;
};
struct ClusterData {
  int type;
  float energy;
  Vector3f position;
};
struct ReconstructedParticleData {
  int type;
  float energy;
  Vector3f momentum, referencePoint;
  float charge, mass, goodnessOfPID;
  unsigned clusters_begin, clusters_end, tracks_begin, tracks_end;
};
struct MCParticleData {
  int PDG, generatorStatus, simulatorStatus;
  float charge, time;
  double mass;
  Vector3d vertex;
  unsigned parents_begin, parents_end, daughters_begin, daughters_end;
};
}  // namespace edm4hep
namespace podio {
struct ObjectID {
  int index, collectionID;
};
}  // namespace podio

inline void fcc(const char* path, int events) {
  TFile file(path, "recreate");
  TTree tree("events", "");
  std::vector<edm4hep::EventHeaderData> header;
  std::vector<edm4hep::ReconstructedParticleData> particles;
  std::vector<edm4hep::MCParticleData> truth;
  std::vector<edm4hep::ClusterData> clusters;
  std::vector<podio::ObjectID> to_clusters, to_tracks, parents, daughters, leptons, reco, simulated;
  tree.Branch("EventHeader", &header);
  tree.Branch("ReconstructedParticles", &particles);
  tree.Branch("Particle", &truth);
  tree.Branch("CalorimeterClusters", &clusters);
  tree.Branch("ReconstructedParticles#0", &to_clusters);
  tree.Branch("ReconstructedParticles#1", &to_tracks);
  tree.Branch("Particle#0", &parents);
  tree.Branch("Particle#1", &daughters);
  tree.Branch("MCRecoAssociations#0", &reco);
  tree.Branch("MCRecoAssociations#1", &simulated);
  for (auto name : {"Muon#0", "Electron#0", "Photon#0"}) tree.Branch(name, &leptons);
  TRandom3 random(3);
  for (int i = 0; i < events; ++i) {
    header = {{i, 1, 0, 1.f}};
    particles.clear(), truth.clear(), clusters.clear();
    for (auto ids : {&to_clusters, &to_tracks, &parents, &daughters, &leptons, &reco, &simulated})
      ids->clear();
    int made = random.Poisson(5);
    for (int j = 0; j < made; ++j) {
      unsigned parent = parents.size(), daughter = daughters.size();
      if (j) parents.push_back({j - 1, 5});
      if (j + 1 < made) daughters.push_back({j + 1, 5});
      truth.push_back({11, 1, 0, -1.f, 0.f, random.Exp(1),
                       {random.Gaus(), random.Gaus(), random.Gaus()},
                       parent, unsigned(parents.size()), daughter, unsigned(daughters.size())});
    }
    for (int j = 0, seen = random.Poisson(4); j < seen; ++j) {
      edm4hep::Vector3f momentum{float(random.Gaus(0, 20)), float(random.Gaus(0, 20)), 1.f};
      unsigned cluster = clusters.size();
      clusters.push_back({1, float(random.Exp(20)), momentum});
      to_clusters.push_back({j, 7});
      particles.push_back({13, float(50 + random.Exp(20)), momentum, {0, 0, 0}, 1.f, 0.1f, 0.9f,
                           cluster, cluster + 1, 0, 0});
      reco.push_back({j, 3});
      simulated.push_back({made ? j % made : -1, 5});
      if (random.Rndm() > 0.5) leptons.push_back({j, 3});
    }
    tree.Fill();
  }
  tree.Write();
}

#ifdef __CLING__
#pragma link C++ struct Event+;
#pragma link C++ struct MissingET+;
#pragma link C++ struct ScalarHT+;
#pragma link C++ struct Muon+;
#pragma link C++ struct Jet+;
#pragma link C++ struct edm4hep::Vector3f+;
#pragma link C++ struct edm4hep::Vector3d+;
#pragma link C++ struct edm4hep::EventHeaderData+;
#pragma link C++ struct edm4hep::ReconstructedParticleData+;
#pragma link C++ struct edm4hep::MCParticleData+;
#pragma link C++ struct edm4hep::ClusterData+;
#pragma link C++ struct podio::ObjectID+;
#pragma link C++ class std::vector<edm4hep::EventHeaderData>+;
#pragma link C++ class std::vector<edm4hep::ReconstructedParticleData>+;
#pragma link C++ class std::vector<edm4hep::MCParticleData>+;
#pragma link C++ class std::vector<edm4hep::ClusterData>+;
#pragma link C++ class std::vector<podio::ObjectID>+;
#endif
