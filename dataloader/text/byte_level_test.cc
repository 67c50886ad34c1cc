#include "dataloader/text/byte_level.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace bert::text {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Pieces(std::string_view text) {
  std::vector<std::string> pieces;
  ForEachByteLevelPiece(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

TEST(ByteLevelTest, ASpaceBelongsToTheWordBehindIt) {
  EXPECT_THAT(Pieces("Hello  my\n friend, 12ab"), ElementsAre("Hello", " ", " my", "\n", " friend", ",", " 12", "ab"));
  EXPECT_THAT(Pieces(" \nx  "), ElementsAre(" ", "\n", "x", "  "));
  EXPECT_THAT(Pieces("a\u00A0b \u2003 \u2003c"), ElementsAre("a", "\u00A0", "b", " \u2003 ", "\u2003", "c"));
  EXPECT_THAT(Pieces(""), ElementsAre());
}

TEST(ByteLevelTest, ContractionsAreEnglishAndLowercase) {
  EXPECT_THAT(Pieces("don't we'll I'VE"), ElementsAre("don", "'t", " we", "'ll", " I", "'", "VE"));
  EXPECT_THAT(Pieces("''s 's"), ElementsAre("''", "s", " '", "s"));
}

TEST(ByteLevelTest, LettersAndNumbersAreThoseOfUnicode) {
  EXPECT_THAT(Pieces("é中٣½e\u0301"), ElementsAre("é中", "٣½", "e", "\u0301"));
  EXPECT_THAT(Pieces("\U00010D40\U00010D4A"), ElementsAre("\U00010D40", "\U00010D4A")) << "new in Unicode 16";
}

TEST(ByteLevelTest, BytesThatAreNotUtf8AreKept) {
  EXPECT_THAT(Pieces("a\xFF\xFE b"), ElementsAre("a", "\xFF\xFE", " b"));
}

TEST(ByteLevelTest, EveryByteHasACharacterOfItsOwn) {
  std::set<char32_t> characters;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t character = CharacterOfByte(static_cast<uint8_t>(byte));
    characters.insert(character);
    EXPECT_EQ(ByteOfCharacter(character), static_cast<uint8_t>(byte));
  }
  EXPECT_EQ(characters.size(), 256u);
  EXPECT_EQ(CharacterOfByte(' '), char32_t{0x120});
  EXPECT_EQ(CharacterOfByte('\n'), char32_t{0x10A});
  EXPECT_EQ(CharacterOfByte(0xAD), char32_t{0x143});
  EXPECT_EQ(ByteOfCharacter(' '), std::nullopt);
  EXPECT_EQ(ByteOfCharacter(0x144), std::nullopt);
}

TEST(ByteLevelTest, CharactersBecomeBytesAgain) {
  std::string characters;
  AppendByteCharacters(" é\n", &characters);
  EXPECT_EQ(characters, "ĠÃ©Ċ");
  std::string bytes = "x";
  AppendBytesOfCharacters(characters, &bytes);
  EXPECT_EQ(bytes, "x é\n");
  AppendBytesOfCharacters("<中>", &bytes);
  EXPECT_EQ(bytes, "x é\n<中>") << "a token of other characters is taken as it is";
}

}  // namespace
}  // namespace bert::text
