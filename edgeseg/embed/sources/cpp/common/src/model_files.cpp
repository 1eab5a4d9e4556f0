#include "model_files.hpp"

#include <cstdint>
#include <fstream>

#include "runtime.hpp"

namespace {

struct ModelFile {
    const char* name;
    std::size_t bytes;
    std::uint32_t crc32;
};

const ModelFile known_files[] = {
@MODEL_FILES@
};

std::uint32_t crc32_of(const Bytes& content)
{
    std::uint32_t table[256];
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t value = byte;
        for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0u);
        table[byte] = value;
    }
    std::uint32_t sum = ~0u;
    for (std::size_t i = 0; i < content.size(); ++i)
        sum = sum >> 8 ^ table[(sum ^ content.data()[i]) & 0xFF];
    return ~sum;
}

}  // namespace

Bytes read_model_file(const std::string& folder, const std::string& name)
{
    const ModelFile* known = nullptr;
    for (const ModelFile& file : known_files)
        if (name == file.name) known = &file;
    if (!known) throw BadModel(name + " is no file of this model.");
    const std::string path = folder + "/" + name;
    std::ifstream file(path, std::ios::binary);
    if (!file) throw BadModel("There is no file " + path + ". Name the kit's folder `model`.");
    Bytes content(known->bytes);
    file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(known->bytes));
    const bool is_whole = file.gcount() == static_cast<std::streamsize>(known->bytes)
        && file.peek() == std::ifstream::traits_type::eof();
    if (!is_whole || crc32_of(content) != known->crc32)
        throw BadModel(path + " is damaged or of another kit. Copy the folder `model` again.");
    return content;
}
