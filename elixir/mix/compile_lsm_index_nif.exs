defmodule Mix.Tasks.Compile.LsmIndexNif do
  @moduledoc false
  # Builds the NIF library from the crate one directory up and puts it into the application's
  # `priv/native`. Cargo runs only when a Rust source, or the way to build it, changed since the
  # last time; otherwise nothing happens but hashing the sources (a few milliseconds).
  #
  # LSM_INDEX_NIF_PATH=/some/liblsm_index.so takes that library instead; no cargo is needed then.

  use Mix.Task.Compiler

  @sources ~w(src/**/*.rs build.rs Cargo.toml Cargo.lock .cargo/config.toml rust-toolchain.toml)

  # A build with other flags, or for another target directory, is another build.
  @variables ~w(CARGO_TARGET_DIR RUSTFLAGS)

  @impl true
  def run(args) do
    paths = %{crate: crate(), library: library(), manifest: manifest()}
    {build(paths, "--force" in args), []}
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    File.rm(library())
    File.rm(manifest())
    :ok
  end

  @doc false
  @spec build(%{crate: Path.t(), library: Path.t(), manifest: Path.t()}, boolean) :: :ok | :noop
  def build(%{crate: crate, library: library, manifest: manifest}, force? \\ false) do
    prebuilt = System.get_env("LSM_INDEX_NIF_PATH")
    digest = if prebuilt, do: prebuilt_digest(prebuilt), else: sources_digest(crate)

    if not force? and File.read(manifest) == {:ok, digest} and File.regular?(library) do
      :noop
    else
      install(prebuilt || cargo_build(crate), library)
      File.mkdir_p!(Path.dirname(manifest))
      File.write!(manifest, digest)
      :ok
    end
  end

  defp prebuilt_digest(prebuilt) do
    case File.read(prebuilt) do
      {:ok, bytes} ->
        Base.encode16(:erlang.md5(["prebuilt", bytes]))

      {:error, reason} ->
        Mix.raise(
          "LSM_INDEX_NIF_PATH names #{prebuilt}, which cannot be read: " <>
            "#{:file.format_error(reason)}"
        )
    end
  end

  defp sources_digest(crate) do
    if not File.regular?(Path.join(crate, "Cargo.toml")) do
      Mix.raise(
        "lsm_index: there is no Rust crate at #{crate} to build the NIF library from; " <>
          "name a prebuilt library in LSM_INDEX_NIF_PATH"
      )
    end

    sources =
      for pattern <- @sources,
          file <- :filelib.wildcard(String.to_charlist(pattern), String.to_charlist(crate)),
          do: [List.to_string(file), 0, File.read!(Path.join(crate, file)), 0]

    variables = for name <- @variables, do: [System.get_env(name, ""), 0]
    Base.encode16(:erlang.md5([sources, variables]))
  end

  defp cargo_build(crate) do
    cargo = System.find_executable("cargo") || Mix.raise(no_cargo())
    check_version(cargo, crate)
    Mix.shell().info("lsm_index: building the NIF library with cargo (release)")

    options = [cd: crate, into: IO.stream(), stderr_to_stdout: true]

    case System.cmd(cargo, ["build", "--release"], options) do
      {_output, 0} -> built_library(crate)
      {_output, status} -> Mix.raise("lsm_index: `cargo build --release` failed (#{status})")
    end
  end

  defp built_library(crate) do
    directory = Path.expand(System.get_env("CARGO_TARGET_DIR", "target"), crate)
    library = Path.join([directory, "release", library_name()])

    if not File.regular?(library) do
      Mix.raise(
        "lsm_index: cargo succeeded but left no #{library}; if a cargo configuration moves " <>
          "its target directory, set CARGO_TARGET_DIR to it"
      )
    end

    library
  end

  defp check_version(cargo, crate) do
    with {:ok, wanted} <- wanted_version(crate),
         {:ok, present} <- present_version(cargo, crate),
         :lt <- Version.compare(present, wanted) do
      Mix.raise(
        "lsm_index: cargo #{present} at #{cargo} is too old, the NIF needs Rust #{wanted} or " <>
          "newer. Get it with `rustup update`, or name a prebuilt library in LSM_INDEX_NIF_PATH"
      )
    end
  end

  defp wanted_version(crate) do
    toml = File.read!(Path.join(crate, "Cargo.toml"))

    case Regex.run(~r/^rust-version\s*=\s*"(\d+)\.(\d+)(?:\.(\d+))?"/m, toml) do
      [_, major, minor] -> Version.parse("#{major}.#{minor}.0")
      [_, major, minor, patch] -> Version.parse("#{major}.#{minor}.#{patch}")
      nil -> :none
    end
  end

  # In the crate's directory, where a rust-toolchain.toml has its effect.
  defp present_version(cargo, crate) do
    {output, _status} = System.cmd(cargo, ["--version"], cd: crate, stderr_to_stdout: true)

    case Regex.run(~r/^cargo (\d+\.\d+\.\d+)/, output) do
      [_, version] -> Version.parse(version)
      nil -> Mix.raise("lsm_index: `#{cargo} --version` does not work: #{output}")
    end
  end

  defp no_cargo do
    "lsm_index: building the NIF library needs Rust, and there is no cargo in the PATH. " <>
      "Install it from https://rustup.rs or with your system's packages, " <>
      "or name a prebuilt library in LSM_INDEX_NIF_PATH"
  end

  # A running VM may have the old library mapped: replace the file, never write into it.
  defp install(built, library) do
    File.mkdir_p!(Path.dirname(library))
    new = "#{library}.#{System.pid()}"
    File.cp!(built, new)
    File.rename!(new, library)
  end

  defp crate, do: Path.expand("../..", __DIR__)
  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.lsm_index_nif")

  # What :erlang.load_nif/2 looks for: ".dll" on Windows, ".so" everywhere else.
  defp library do
    extension = if match?({:win32, _}, :os.type()), do: ".dll", else: ".so"
    Path.join([Mix.Project.app_path(), "priv", "native", "liblsm_index" <> extension])
  end

  defp library_name do
    case :os.type() do
      {:unix, :darwin} -> "liblsm_index.dylib"
      {:win32, _} -> "lsm_index.dll"
      _unix -> "liblsm_index.so"
    end
  end
end
