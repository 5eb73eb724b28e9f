<?xml version="1.0" encoding="UTF-8"?>
<!-- An RSS or Atom feed as a list in HTML. Links of other schemes than http and https are left out. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns:atom="http://www.w3.org/2005/Atom"
    exclude-result-prefixes="atom">
  <xsl:output method="html" encoding="UTF-8" indent="no"/>

  <xsl:template match="/">
    <xsl:apply-templates select="rss/channel | atom:feed"/>
  </xsl:template>

  <xsl:template match="channel | atom:feed">
    <h1><xsl:value-of select="title | atom:title"/></h1>
    <ul>
      <xsl:text>&#10;</xsl:text>
      <xsl:apply-templates select="item | atom:entry"/>
    </ul>
    <xsl:text>&#10;</xsl:text>
  </xsl:template>

  <xsl:template match="item | atom:entry">
    <xsl:variable name="link" select="string(link | atom:link[not(@rel) or @rel = 'alternate']/@href)"/>
    <li>
      <a>
        <xsl:if test="starts-with($link, 'https://') or starts-with($link, 'http://')">
          <xsl:attribute name="href"><xsl:value-of select="$link"/></xsl:attribute>
        </xsl:if>
        <xsl:value-of select="title | atom:title"/>
      </a>
      <xsl:text> </xsl:text>
      <small><xsl:value-of select="pubDate | atom:updated"/></small>
    </li>
    <xsl:text>&#10;</xsl:text>
  </xsl:template>
</xsl:stylesheet>
