# The compiler task must exist before anything in lib/ is compiled, so it cannot live there.
Code.require_file("mix/compile_lsm_index_nif.exs", __DIR__)

defmodule LsmIndex.MixProject do
  use Mix.Project

  def project do
    [
      app: :lsm_index,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "A key to ids multimap outside the BEAM heap: 10 to 11 bytes per key",
      elixirc_paths: if(Mix.env() == :test, do: ["lib", "test/support"], else: ["lib"]),
      compilers: [:lsm_index_nif] ++ Mix.compilers(),
      start_permanent: Mix.env() == :prod,
      deps: []
    ]
  end

  def application do
    [mod: {LsmIndex.Application, []}, extra_applications: [:crypto, :logger]]
  end
end
