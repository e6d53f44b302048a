defmodule Bench.Report.Machine do
  @moduledoc false
  # What the figures were measured on, from /proc and /sys of Linux, and with which versions.

  @doc "`{what, value}`, without those that this machine does not tell."
  def facts do
    Enum.reject(
      [
        {"processor", processor()},
        {"cores", cores()},
        {"caches", caches()},
        {"memory", memory()},
        {"system", system()},
        {"Elixir", System.version()},
        {"Erlang/OTP", otp()},
        {"Rust", command("rustc", ["--version"])}
      ],
      fn {_what, value} -> value in [nil, ""] end
    )
  end

  defp processor do
    with <<_, _::binary>> = model <- of("/proc/cpuinfo", ~r/^model name\s*: (.*)$/m) do
      virtual = read("/proc/cpuinfo") =~ ~r/^flags\s*:.*\bhypervisor\b/m
      if virtual, do: model <> ", in a virtual machine", else: model
    end
  end

  defp cores do
    "#{:erlang.system_info(:logical_processors_available)} available, " <>
      "#{System.schedulers_online()} schedulers of the VM"
  end

  # Of the first processor: "L1 data 32 KB, …".
  defp caches do
    "/sys/devices/system/cpu/cpu0/cache/index*"
    |> Path.wildcard()
    |> Enum.map_join(", ", fn cache ->
      [level, type, size] = for file <- ~w(level type size), do: read(Path.join(cache, file))
      kind = if type == "Unified", do: "", else: " " <> String.downcase(type)
      "L#{level}#{kind} #{size(size)}"
    end)
  end

  # "2048K" is 2 MB.
  defp size(text) do
    case Integer.parse(text) do
      {kilobytes, "K"} when rem(kilobytes, 1024) == 0 -> "#{div(kilobytes, 1024)} MB"
      {kilobytes, "K"} -> "#{kilobytes} KB"
      _other -> text
    end
  end

  defp memory do
    with <<_, _::binary>> = kilobytes <- of("/proc/meminfo", ~r/^MemTotal:\s*(\d+) kB/m) do
      "#{Float.round(String.to_integer(kilobytes) / 1024 / 1024, 1)} GB"
    end
  end

  defp system do
    name = of("/etc/os-release", ~r/^PRETTY_NAME="?([^"\n]*)/m)
    Enum.join([name || "Linux", "kernel " <> read("/proc/sys/kernel/osrelease")], ", ")
  end

  # The release alone is only the first number.
  defp otp do
    release = System.otp_release()
    file = Path.join([:code.root_dir(), "releases", release, "OTP_VERSION"])

    case read(file) do
      "" -> release
      version -> version
    end
  end

  defp command(name, arguments) do
    with path when is_binary(path) <- System.find_executable(name),
         {text, 0} <- System.cmd(path, arguments) do
      text |> String.trim() |> String.replace(~r/^rustc /, "")
    else
      _not_here -> nil
    end
  end

  defp of(file, pattern) do
    with [_all, text] <- Regex.run(pattern, read(file)), do: String.trim(text)
  end

  defp read(file) do
    case File.read(file) do
      {:ok, text} -> String.trim(text)
      {:error, _reason} -> ""
    end
  end
end
