defmodule LsmIndex.OptionsTest do
  use LsmIndex.Case, async: true

  import Bitwise, only: [<<<: 2]
  alias LsmIndex.Options

  describe "validate/1" do
    test "gives the defaults" do
      assert Options.validate([]) ==
               {:ok,
                %{
                  num_lanes: nil,
                  compaction_threshold: 10_000,
                  durability: :os,
                  max_log_bytes: 67_108_864,
                  recover: :strict,
                  verify: :full,
                  residency: :mmap,
                  filter: :none,
                  hash_key: nil
                }}
    end

    test "takes every allowed value" do
      for {option, values} <- [
            num_lanes: [1, 3, 64, 16_384],
            compaction_threshold: [1, 10_000, 2_147_483_647],
            durability: [:memory, :os, :sync],
            max_log_bytes: [4_096, 67_108_864],
            recover: [:strict, :salvage],
            verify: [:full, :fast],
            residency: [:mmap, :populate, :mlock, :heap],
            filter: [:none, :fuse8, :bloom],
            hash_key: [:binary.copy(<<0>>, 16), "0123456789abcdef"]
          ],
          value <- values do
        assert {:ok, %{^option => ^value}} = Options.validate([{option, value}])
      end
    end

    test "names the option and the value that is wrong" do
      for {option, values} <- [
            num_lanes: [0, -1, 16_385, 1.0, "64", nil, :many],
            compaction_threshold: [0, -5, 1 <<< 40, 1.5, nil],
            durability: [:disk, nil, true],
            verify: [true, nil, :none],
            residency: [true, nil, :file, "heap"],
            filter: [nil, :xor, "none"]
          ],
          value <- values do
        assert {:error, %Error{reason: :invalid_option} = error} =
                 Options.validate([{option, value}])

        assert error.detail == %{option: option, value: value}
        assert error.message =~ "option #{inspect(option)} must be"
        assert error.message =~ inspect(value)
      end
    end

    test "does not show a hash key" do
      for secret <- ["fifteen bytes!!", "s3cret s3cret s3cret", :s3cret, <<1::127>>] do
        assert {:error, %Error{reason: :invalid_option} = error} =
                 Options.validate(hash_key: secret)

        assert error.detail == %{option: :hash_key, value: :hidden}
        assert error.message =~ ":hash_key must be a binary of 16 bytes"
        refute inspect(error) =~ inspect(secret)
      end
    end

    test "knows nothing of the options of other calls" do
      for {option, value} <- [progress: &inspect/1, apply: true, name: :a, path: "b"] do
        assert {:error, %Error{reason: :invalid_option} = error} =
                 Options.validate([{option, value}])

        assert error.detail == %{option: option, value: value}
        assert error.message =~ "unknown option"
      end
    end

    test "refuses what it does not know" do
      assert {:error, %Error{reason: :invalid_option} = error} = Options.validate(lanes: 4)
      assert error.detail == %{option: :lanes, value: 4}
      assert error.message =~ ":lanes"
      assert error.message =~ ":num_lanes"
    end

    test "refuses options that are no keyword list" do
      for options <- [nil, %{num_lanes: 4}, [:num_lanes], [{"num_lanes", 4}], 4] do
        assert {:error, %Error{reason: :invalid_option} = error} = Options.validate(options)
        assert error.message =~ inspect(options)
      end
    end

    test "of an option given twice the first counts" do
      assert {:ok, %{num_lanes: 1}} = Options.validate(num_lanes: 1, num_lanes: 2)
    end
  end

  describe "location/1" do
    test "makes paths absolute" do
      assert Options.location("routes") == {:ok, Path.join(File.cwd!(), "routes")}
      assert Options.location("/var/lib/../routes") == {:ok, "/var/routes"}
      assert Options.location(:memory) == {:ok, :memory}
    end

    test "refuses what is no path" do
      for path <- ["", <<"a", 0, "b">>, <<255>>, nil, :disk, ~c"path", 5] do
        assert {:error, %Error{reason: :invalid_argument} = error} = Options.location(path)
        assert error.message =~ inspect(path)
        assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.open(path)
      end
    end
  end

  describe "native/2" do
    test "leaves the number of lanes to a stored index" do
      {:ok, options} = Options.validate([])
      assert %{num_lanes: nil, hash_key: nil} = Options.native(options, "/routes")
      assert %{num_lanes: 64, verify: :full} = Options.native(options, :memory)
    end
  end

  describe "start_options/1" do
    test "has a default name and needs a path" do
      assert {:ok, LsmIndex, :memory, %{num_lanes: 2}} =
               Options.start_options(path: :memory, num_lanes: 2)

      assert {:error, %Error{reason: :invalid_option} = error} = Options.start_options(name: A)
      assert error.message =~ ":path"
    end

    test "refuses a wrong name, path or option" do
      for name <- [nil, true, "name", {:global, :name}] do
        assert {:error, %Error{reason: :invalid_option, detail: %{option: :name, value: ^name}}} =
                 Options.start_options(name: name, path: :memory)
      end

      assert {:error, %Error{reason: :invalid_argument}} = Options.start_options(path: 5)
      assert {:error, %Error{detail: %{option: :x}}} = Options.start_options(path: "a", x: 1)
      assert {:error, %Error{reason: :invalid_option}} = Options.start_options("routes")
    end
  end
end
