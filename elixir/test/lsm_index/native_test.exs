defmodule LsmIndex.NativeTest do
  use LsmIndex.Case, async: true

  alias LsmIndex.Native

  test "a reference that is no index is a bad argument" do
    assert_raise ArgumentError, fn -> Native.get(make_ref(), "a") end
    assert_raise ArgumentError, fn -> Native.close(:index) end
  end

  test "every stub is replaced by a NIF" do
    # A stub that the library does not know would raise :nif_not_loaded; a NIF never does.
    for {name, arity} <- Native.__info__(:functions), name != :load_nif do
      arguments = List.duplicate(nil, arity)

      result =
        try do
          apply(Native, name, arguments)
        rescue
          error in ArgumentError -> error
        end

      # `new_memory` takes nil for no options.
      assert match?(%ArgumentError{}, result) or match?({:error, {_, _, _}}, result) or
               is_reference(result),
             "#{name}/#{arity} gave #{inspect(result)}"
    end
  end

  @tag :tmp_dir
  test "without its library the application does not start, and says why", %{tmp_dir: dir} do
    ebin = Path.join(dir, "lsm_index/ebin")
    File.mkdir_p!(Path.dirname(ebin))
    File.cp_r!(Application.app_dir(:lsm_index, "ebin"), ebin)

    script = "{:error, {:lsm_index, {reason, _}}} = Application.ensure_all_started(:lsm_index)"

    {output, 0} =
      System.cmd("elixir", ["-pa", ebin, "-e", script <> "; IO.puts(reason)"],
        stderr_to_stdout: true
      )

    assert output =~ "cannot load its NIF library #{dir}/lsm_index/priv/native/liblsm_index"
    assert output =~ "LSM_INDEX_NIF_PATH"
  end
end
