// segment PICTURE MASK.pgm [MODEL]: the class of each pixel of a .ppm (RGB) or .pgm (grey) picture.
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "segmenter.hpp"

namespace {

struct Picture {
    int height = 0, width = 0;
    segmenter_format format = SEGMENTER_RGB;
    std::vector<unsigned char> pixels;
};

int read_number(std::istream& file)
{
    int number = 0;
    while ((file >> std::ws).peek() == '#') file.ignore(1 << 20, '\n');
    if (!(file >> number)) throw std::runtime_error("The picture's head is cut short.");
    return number;
}

Picture read_picture(const std::string& path)
{
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("There is no file " + path + ". Name a picture.");
    std::string kind(2, ' ');
    file.read(kind.data(), 2);
    if (kind != "P6" && kind != "P5")
        throw std::runtime_error(path + " is neither PPM nor PGM of bytes. Convert it.");
    Picture picture;
    picture.format = kind == "P6" ? SEGMENTER_RGB : SEGMENTER_GREY;
    picture.width = read_number(file);
    picture.height = read_number(file);
    if (read_number(file) != 255) throw std::runtime_error(path + " has not 8 bits. Convert it.");
    file.get();
    const int most = 8192;
    if (picture.width < 1 || picture.height < 1 || picture.width > most || picture.height > most)
        throw std::runtime_error("The picture's sides are not 1 to 8192. Shrink it.");
    const std::size_t values = kind == "P6" ? 3 : 1;
    picture.pixels.resize(values * static_cast<std::size_t>(picture.width)
        * static_cast<std::size_t>(picture.height));
    if (!file.read(reinterpret_cast<char*>(picture.pixels.data()),
            static_cast<std::streamsize>(picture.pixels.size())))
        throw std::runtime_error(path + " is cut short. Write it again.");
    return picture;
}

void write_mask(const std::string& path, const edgeseg::Mask& mask)
{
    std::ofstream file(path, std::ios::binary);
    file << "P5\n" << mask.width << ' ' << mask.height << '\n' << SEGMENTER_CLASSES - 1 << '\n';
    file.write(reinterpret_cast<const char*>(mask.labels.data()),
        static_cast<std::streamsize>(mask.labels.size()));
    if (!file.flush()) throw std::runtime_error("The mask cannot be written to " + path + ".");
}

}  // namespace

int main(int count, char** words)
{
    if (count != 3 && count != 4) {
        std::cerr << "Usage: segment PICTURE.ppm MASK.pgm [MODEL]\n";
        return 2;
    }
    try {
        const Picture picture = read_picture(words[1]);
        edgeseg::Segmenter network(count == 4 ? words[3] : MODEL_FOLDER);
        const edgeseg::Mask mask
            = network.run(picture.pixels.data(), picture.format, picture.height, picture.width);
        write_mask(words[2], mask);
        std::vector<std::size_t> pixels(SEGMENTER_CLASSES);
        for (unsigned char label : mask.labels) ++pixels[label];
        for (std::size_t label = 1; label < pixels.size(); ++label)
            std::cout << segmenter_class_name(static_cast<int>(label)) << ": " << pixels[label]
                      << " of " << mask.labels.size() << " pixels\n";
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "Error: " << error.what() << '\n';
        return 1;
    }
}
