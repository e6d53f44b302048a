defmodule Mix.Tasks.Compile.LsmIndexNifTest do
  # Builds a crate of two files with a cargo that is a shell script. The environment is changed, so
  # nothing may run beside it.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO
  alias Mix.Tasks.Compile.LsmIndexNif

  @moduletag :tmp_dir
  @variables ~w(PATH LSM_INDEX_NIF_PATH CARGO_TARGET_DIR RUSTFLAGS)

  setup %{tmp_dir: dir} do
    before = Map.new(@variables, &{&1, System.get_env(&1)})
    on_exit(fn -> System.put_env(before) end)
    Enum.each(@variables -- ["PATH"], &System.delete_env/1)

    crate = Path.join(dir, "crate")
    File.mkdir_p!(Path.join(crate, "src/deep"))
    File.write!(Path.join(crate, "Cargo.toml"), ~s([package]\nrust-version = "1.80"\n))
    File.write!(Path.join(crate, "src/lib.rs"), "mod deep;")
    File.write!(Path.join(crate, "src/deep/mod.rs"), "// nothing")

    paths = %{
      crate: crate,
      library: Path.join(dir, "priv/native/liblsm_index.so"),
      manifest: Path.join(dir, "manifests/nif")
    }

    cargo!(dir, "1.80.0")
    %{paths: paths, dir: dir}
  end

  # Each build appends a line to the file `runs` and leaves a library that holds all of them.
  defp cargo!(dir, version, status \\ 0) do
    bin = Path.join(dir, "bin")
    File.mkdir_p!(bin)
    runs = Path.join(dir, "runs")

    File.write!(Path.join(bin, "cargo"), """
    #!/bin/sh
    if [ "$1" = "--version" ]; then echo "cargo #{version} (abcdef 2025-01-01)"; exit 0; fi
    target="${CARGO_TARGET_DIR:-target}/release"
    mkdir -p "$target"
    echo "$PWD $*" >> "#{runs}"
    for name in liblsm_index.so liblsm_index.dylib; do cp "#{runs}" "$target/$name"; done
    exit #{status}
    """)

    File.chmod!(Path.join(bin, "cargo"), 0o755)
    System.put_env("PATH", bin <> ":/usr/bin:/bin")
  end

  defp runs(dir) do
    case File.read(Path.join(dir, "runs")) do
      {:ok, runs} -> runs |> String.split("\n", trim: true) |> length()
      {:error, :enoent} -> 0
    end
  end

  defp build(paths, force? \\ false) do
    {result, _output} = with_io(fn -> LsmIndexNif.build(paths, force?) end)
    result
  end

  test "builds once, and again when a source changed, and only then", %{paths: paths, dir: dir} do
    assert build(paths) == :ok
    assert File.read!(paths.library) == "#{paths.crate} build --release\n"
    assert build(paths) == :noop
    assert File.touch!(Path.join(paths.crate, "src/lib.rs"), 1_000_000_000) == :ok
    assert build(paths) == :noop
    assert runs(dir) == 1

    changes = [
      fn -> File.write!(Path.join(paths.crate, "src/deep/mod.rs"), "// nothin") end,
      fn -> File.write!(Path.join(paths.crate, "src/new.rs"), "") end,
      fn -> File.rm!(Path.join(paths.crate, "src/new.rs")) end,
      fn -> File.write!(Path.join(paths.crate, "Cargo.lock"), "# a lock") end,
      fn -> File.write!(Path.join(paths.crate, "build.rs"), "fn main() {}") end,
      fn -> File.rm!(paths.library) end,
      fn -> File.rm!(paths.manifest) end,
      fn -> System.put_env("RUSTFLAGS", "-C opt-level=1") end,
      fn -> System.put_env("CARGO_TARGET_DIR", Path.join(dir, "elsewhere")) end
    ]

    for {change, number} <- Enum.with_index(changes, 2) do
      change.()
      assert build(paths) == :ok
      assert build(paths) == :noop
      assert runs(dir) == number
      assert File.regular?(paths.library)
    end

    assert build(paths, true) == :ok
    assert File.regular?(Path.join(dir, "elsewhere/release/liblsm_index.so"))
  end

  test "replaces the library and never writes into it", %{paths: paths} do
    assert build(paths) == :ok
    mapped = File.open!(paths.library)
    old = File.read!(paths.library)
    assert build(paths, true) == :ok
    assert File.read!(paths.library) != old
    assert IO.read(mapped, :eof) == old
    assert File.ls!(Path.dirname(paths.library)) == ["liblsm_index.so"]
  end

  test "a failed build is an error, and is tried again", %{paths: paths, dir: dir} do
    cargo!(dir, "1.80.0", 101)

    for _ <- 1..2 do
      assert_raise Mix.Error, ~r/cargo build --release` failed \(101\)/, fn -> build(paths) end
      refute File.exists?(paths.library)
    end

    assert runs(dir) == 2
  end

  test "without cargo it says where to get it, but asks only if it must", %{paths: paths} do
    assert build(paths) == :ok
    System.put_env("PATH", "/nonexistent")
    assert build(paths) == :noop
    message = ~r/no cargo in the PATH.*rustup.*LSM_INDEX_NIF_PATH/s
    assert_raise Mix.Error, message, fn -> build(paths, true) end
  end

  test "a cargo that is too old is named with its version", %{paths: paths, dir: dir} do
    cargo!(dir, "1.79.3")
    message = ~r/cargo 1\.79\.3 at .*bin\/cargo is too old.*Rust 1\.80\.0/s
    assert_raise Mix.Error, message, fn -> build(paths) end
    assert runs(dir) == 0
  end

  test "takes a prebuilt library without cargo, and again when it changed", context do
    %{paths: paths, dir: dir} = context
    System.put_env("PATH", "/nonexistent")
    prebuilt = Path.join(dir, "prebuilt.so")
    System.put_env("LSM_INDEX_NIF_PATH", prebuilt)
    message = ~r/LSM_INDEX_NIF_PATH names .*prebuilt\.so, which cannot be read: no such file/
    assert_raise Mix.Error, message, fn -> build(paths) end

    for contents <- ["one", "two"] do
      File.write!(prebuilt, contents)
      assert build(paths) == :ok
      assert File.read!(paths.library) == contents
      assert build(paths) == :noop
    end

    cargo!(dir, "1.80.0")
    System.delete_env("LSM_INDEX_NIF_PATH")
    assert build(paths) == :ok
    assert runs(dir) == 1
  end

  test "without a crate there must be a prebuilt library", %{paths: paths, dir: dir} do
    message = ~r/no Rust crate at .*LSM_INDEX_NIF_PATH/s
    assert_raise Mix.Error, message, fn -> build(%{paths | crate: Path.join(dir, "none")}) end
  end

  test "this project's own build left a manifest and a library" do
    assert [manifest] = LsmIndexNif.manifests()
    assert {:ok, <<_digest::binary-size(32)>>} = File.read(manifest)
    library = Application.app_dir(:lsm_index, "priv/native/liblsm_index.so")
    assert %File.Stat{type: :regular} = File.stat!(library)
  end
end
